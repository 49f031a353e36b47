//! temp
use bytes::Bytes; use futures::{StreamExt as _, stream}; use gristmill_common::*; use gristmill_handlers::*; use tokio_util::sync::CancellationToken;
fn main(){ let p=std::env::args().nth(1).expect("p"); let data=Bytes::from(std::fs::read(&p).expect("r"));
 let reg=built_in().expect("b"); let h=reg.get(&"word_count".parse().expect("n")).expect("h");
 for threads in [1,2] { for top in [0,10] { let mut best=f64::MAX; let mut med=vec![]; let mut out=Bytes::new(); for _ in 0..5 {
  let d=data.clone(); let n=d.len(); let chunks=stream::iter((0..n.div_ceil(1<<20)).map(move |i| Ok(d.slice(i<<20..n.min((i+1)<<20))))).boxed();
  let info=JobInfo{id:JobId::fresh(),tenant:Tenant::default(),attempt:1,trace:None};
  let (c,_)=Context::new(info,Clock::start(),CancellationToken::new(),threads,Some(Text{bytes:n as u64,chunks}));
  let t=std::time::Instant::now(); out=futures::executor::block_on(h.run(Bytes::from(format!("{{\"top\":{top}}}")),c)).expect("ok"); let s=t.elapsed().as_secs_f64(); best=best.min(s); med.push(s);} med.sort_by(f64::total_cmp);
  println!("threads {threads} top {top}: median {:.3} s {:.3} GB/s best {:.3}; {}", med[2], data.len() as f64/1e9/med[2], best, &String::from_utf8_lossy(&out)[..160.min(out.len())]); } } }
