//! Starting in any order: before RabbitMQ and MongoDB listen.

use std::time::{Duration, Instant};

use gristmill_testkit::{Http, Kind, PrivateRabbit, Process, World};
use serde_json::json;
use tokio::{
    io::copy_bidirectional,
    net::{TcpSocket, TcpStream},
};

use crate::{Complaints, fleet, turn};

/// How long the programs are left alone after that: once is enough.
const ALONE: Duration = Duration::from_secs(4);

/// An address before a server that refuses connections until it is opened.
struct Door {
    socket: TcpSocket,
    behind: String,
}

impl Door {
    fn closed(behind: &str) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(([127, 0, 0, 1], 0).into()).expect("a free port");
        Self { socket, behind: behind.to_owned() }
    }

    fn address(&self) -> String {
        self.socket.local_addr().expect("bound").to_string()
    }

    fn open(self) {
        let listener = self.socket.listen(64).expect("a listener");
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let behind = self.behind.clone();
                tokio::spawn(async move {
                    let mut server = TcpStream::connect(behind).await.expect("the server is there");
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_start_before_their_servers_say_so_once_and_get_ready_when_these_come() {
    let _turn = turn().await;
    let rabbit = PrivateRabbit::start().await.expect("a RabbitMQ");
    rabbit.stop().await.expect("stopped");
    let world = World::with_rabbit(&rabbit);
    let door = Door::closed(world.store_address());
    let builder = fleet().with("store.url", world.store_url_through(&door.address()));
    let mut programs: Vec<(Kind, Process)> = Vec::new();
    for kind in [Kind::Worker, Kind::Scheduler, Kind::Api] {
        programs.push((kind, builder.process(kind, &world).spawn().expect("a process")));
    }
    for (kind, program) in &mut programs {
        let http = Http::new(&program.url().await.expect("it listens"));
        let health = async |path: &str| http.try_get(path).await.expect("an answer").status;
        assert_eq!((health("/health/live").await, health("/health/ready").await), (200, 503), "{kind:?}");
        if *kind == Kind::Api {
            let job = json!({"type": "sleep", "payload": {"ms": 0}});
            http.post("/jobs", &job).await.refused(503, "store_unavailable");
            http.get("/jobs").await.refused(503, "store_unavailable");
        }
    }
    for (_, program) in &programs {
        Complaints::come(program, "gristmill_storage").await;
        Complaints::come(program, "gristmill_broker").await;
    }
    tokio::time::sleep(ALONE).await;
    for (kind, program) in &mut programs {
        assert_eq!(program.ended().expect("known"), None, "{kind:?} goes on");
        let complaints = Complaints::of(program);
        println!("{kind:?} alone: {} lines, {} warnings", program.log().len(), complaints.count());
        println!("    {}", complaints.line_of("gristmill_storage"));
        println!("    {}", complaints.line_of("gristmill_broker"));
    }

    door.open();
    rabbit.start_again().await.expect("RabbitMQ");
    let came = Instant::now();
    for (kind, program) in &mut programs {
        program.ready().await.unwrap_or_else(|error| panic!("{kind:?}: {error}"));
    }
    println!("all ready {:.1?} after the servers came", came.elapsed());
    let http = Http::new(&programs[2].1.url().await.expect("it listens"));
    let job = http.ended(&http.submit(json!({"type": "sleep", "payload": {"ms": 0}})).await).await;
    assert_eq!(job["state"], "succeeded", "{job}");
}
