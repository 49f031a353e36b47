use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// Writes numbers down, command by command, each as soon as it is let through.
#[derive(Default)]
struct Numbers {
    commands: Mutex<Vec<Vec<u32>>>,
    begun: AtomicUsize,
}

/// The number whose command panics.
const BAD: u32 = 9_999;

struct Gated {
    numbers: Arc<Numbers>,
    gate: Arc<Semaphore>,
}

#[async_trait]
impl Work for Gated {
    type Item = u32;
    type Answer = u32;

    fn bytes(number: &u32) -> usize {
        *number as usize
    }

    /// Even numbers are about themselves; odd ones about nothing.
    fn subject(number: &u32) -> Option<String> {
        number.is_multiple_of(2).then(|| number.to_string())
    }

    async fn carry_out(&self, numbers: Vec<u32>) -> Result<Vec<Result<u32, Fault>>, Fault> {
        self.numbers.begun.fetch_add(1, Ordering::SeqCst);
        self.gate.acquire().await.expect("the gate is there").forget();
        assert!(!numbers.contains(&BAD), "on purpose");
        self.numbers.commands.lock().expect("no panic").push(numbers.clone());
        Ok(numbers.into_iter().map(|number| Ok(number + 1)).collect())
    }
}

struct Rig {
    batcher: Arc<Batcher<Gated>>,
    numbers: Arc<Numbers>,
    gate: Arc<Semaphore>,
}

impl Rig {
    fn new(bounds: Bounds) -> Self {
        let (numbers, gate) = (Arc::<Numbers>::default(), Arc::new(Semaphore::new(0)));
        let work = Gated { numbers: Arc::clone(&numbers), gate: Arc::clone(&gate) };
        Self { batcher: Arc::new(Batcher::new("test", work, bounds)), numbers, gate }
    }

    fn write(&self, numbers: Vec<u32>) -> tokio::task::JoinHandle<Result<Vec<u32>, StoreError>> {
        let batcher = Arc::clone(&self.batcher);
        tokio::spawn(async move { batcher.write(numbers).await })
    }

    /// Waits until so many commands have begun.
    async fn begun(&self, commands: usize) {
        gristmill_testkit::eventually("a command", async || {
            (self.numbers.begun.load(Ordering::SeqCst) == commands).then_some(())
        })
        .await;
    }

    /// Waits until so many items wait for the next command.
    async fn waiting(&self, items: usize) {
        gristmill_testkit::eventually("callers", async || {
            (self.batcher.shared.queue().waiting.len() == items).then_some(())
        })
        .await;
    }

    fn commands(&self) -> Vec<Vec<u32>> {
        self.numbers.commands.lock().expect("no panic").clone()
    }
}

#[tokio::test]
async fn what_comes_while_a_command_is_on_its_way_shares_the_next() {
    let rig = Rig::new(Bounds::default());
    let first = rig.write(vec![1]);
    rig.begun(1).await;
    let others: Vec<_> = (1..=40).map(|n| rig.write(vec![2 * n + 1, 2 * n + 1])).collect();
    rig.waiting(80).await;
    rig.gate.add_permits(100);
    assert_eq!(first.await.expect("no panic").expect("an answer"), [2]);
    for (n, other) in (1..).zip(others) {
        assert_eq!(other.await.expect("no panic").expect("an answer"), [2 * n + 2, 2 * n + 2], "each has its own");
    }
    let sizes: Vec<usize> = rig.commands().iter().map(Vec::len).collect();
    assert_eq!(sizes, [1, 80]);
}

#[tokio::test]
async fn a_command_has_a_subject_once_and_each_subject_its_order() {
    let rig = Rig::new(Bounds::default());
    rig.gate.add_permits(100);
    let answers = rig.write(vec![4, 6, 4, 1, 4, 6, 1]).await.expect("no panic").expect("answers");
    assert_eq!(answers, [5, 7, 5, 2, 5, 7, 2]);
    assert_eq!(rig.commands(), [vec![4, 6, 1, 1], vec![4, 6], vec![4]]);
}

#[tokio::test]
async fn no_command_is_larger_than_the_server_takes() {
    let rig = Rig::new(Bounds::default());
    rig.gate.add_permits(100);
    rig.write(vec![1; 2 * BATCH + 1]).await.expect("no panic").expect("answers");
    let large = BATCH_BYTES as u32 + 1;
    rig.write(vec![large, large, 1]).await.expect("no panic").expect("answers");
    let sizes: Vec<usize> = rig.commands().iter().map(Vec::len).collect();
    assert_eq!(sizes, [BATCH, BATCH, 1, 1, 1, 1]);
}

#[tokio::test]
async fn whoever_finds_no_room_in_time_is_told_so_and_others_later_find_some() {
    let bounds = Bounds { operations: 2, bytes: 1_000, patience: Duration::from_millis(50) };
    let rig = Rig::new(bounds);
    let first = rig.write(vec![1, 3]);
    rig.begun(1).await;
    let refused = rig.write(vec![5]).await.expect("no panic");
    assert!(matches!(refused, Err(StoreError::Overloaded)), "{refused:?}");
    rig.gate.add_permits(100);
    first.await.expect("no panic").expect("answers");
    // More than there is room for at all comes alone.
    for numbers in [vec![7, 7, 7], vec![2_001]] {
        rig.write(numbers).await.expect("no panic").expect("answers");
    }
    assert_eq!(rig.commands(), [vec![1, 3], vec![7, 7, 7], vec![2_001]]);
}

#[tokio::test]
async fn a_command_that_panics_is_the_end_of_none_but_those_who_waited() {
    let rig = Rig::new(Bounds::default());
    let bad = rig.write(vec![BAD, 1]);
    rig.begun(1).await;
    let behind = rig.write(vec![3]);
    rig.waiting(1).await;
    rig.gate.add_permits(100);
    for told in [bad, behind] {
        let told = told.await.expect("no panic");
        assert!(matches!(told, Err(StoreError::Unavailable(_))), "nobody knows what became of it: {told:?}");
    }
    assert_eq!(rig.write(vec![5]).await.expect("no panic").expect("an answer"), [6]);
    assert_eq!(rig.commands(), [[5]]);
}

#[tokio::test]
async fn what_was_handed_over_is_written_even_if_the_caller_goes_away() {
    let rig = Rig::new(Bounds::default());
    let first = rig.write(vec![1]);
    rig.begun(1).await;
    let gone = rig.write(vec![3]);
    rig.waiting(1).await;
    gone.abort();
    rig.gate.add_permits(100);
    first.await.expect("no panic").expect("an answer");
    rig.begun(2).await;
    rig.write(vec![5]).await.expect("no panic").expect("an answer");
    assert_eq!(rig.commands(), [[1], [3], [5]]);
}
