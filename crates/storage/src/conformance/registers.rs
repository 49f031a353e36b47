//! Registers: small values that several processes change at once.

use std::sync::Arc;

use gristmill_common::{Tenant, Timestamp};
use serde_json::{Value, json};

use super::{Backend, at};
use crate::{Expect, Register, RegisterKey, Space, Store, Swap};

fn key_of(space: Space, tenant: &str, name: &str) -> RegisterKey {
    RegisterKey { space, tenant: tenant.parse::<Tenant>().expect("a name"), name: name.to_owned() }
}

fn key(name: &str) -> RegisterKey {
    key_of(Space::Unique, "default", name)
}

fn set(key: &RegisterKey, expect: Expect, value: Value, due_at: Option<Timestamp>) -> Swap {
    Swap { key: key.clone(), expect, to: Some((value, due_at)) }
}

fn removal(key: &RegisterKey, expect: Expect) -> Swap {
    Swap { key: key.clone(), expect, to: None }
}

async fn swap_one(store: &Arc<dyn Store>, swap: Swap) -> bool {
    let answers = store.swap(vec![swap]).await.expect("an answer");
    let [made] = answers[..] else { panic!("one answer: {answers:?}") };
    made
}

/// Makes a register that is not there yet, and reads it back.
async fn made(store: &Arc<dyn Store>, key: &RegisterKey, value: Value, due_at: Option<Timestamp>) -> Register {
    assert!(swap_one(store, set(key, Expect::Absent, value, due_at)).await);
    read(store, key).await.expect("it is there")
}

async fn read(store: &Arc<dyn Store>, key: &RegisterKey) -> Option<Register> {
    store.registers(std::slice::from_ref(key)).await.expect("an answer").remove(0)
}

/// A register is made, changed and removed, each only if it is as expected; and it has another version each time, even
/// after it was removed and made again.
pub async fn a_register_is_changed_only_as_it_was_read(backend: &dyn Backend) {
    let store = backend.open().await;
    let (mine, other) = (key("mine"), key("other"));
    assert_eq!(read(&store, &mine).await, None);
    assert!(!swap_one(&store, set(&mine, Expect::Version(1), json!(0), None)).await);
    assert!(!swap_one(&store, removal(&mine, Expect::Version(1))).await);
    assert!(!swap_one(&store, removal(&mine, Expect::Absent)).await);
    let nested = json!({"n": 1.5, "list": [null, true, "ü"], "deep": {"e.r": {"$set": {}}}, "": "\0"});
    let first = made(&store, &mine, nested.clone(), Some(at(7))).await;
    assert_eq!((&first.key, first.due_at, &first.value), (&mine, Some(at(7)), &nested));
    let untouched = made(&store, &other, json!(null), None).await;

    assert!(!swap_one(&store, set(&mine, Expect::Absent, json!(1), None)).await);
    assert!(!swap_one(&store, set(&mine, Expect::Version(first.version + 1), json!(1), None)).await);
    assert_eq!(read(&store, &mine).await, Some(first.clone()));
    assert!(swap_one(&store, set(&mine, Expect::Version(first.version), json!(2), None)).await);
    let second = read(&store, &mine).await.expect("it is there");
    assert_eq!((second.due_at, &second.value), (None, &json!(2)));
    assert_ne!(second.version, first.version);
    assert!(!swap_one(&store, set(&mine, Expect::Version(first.version), json!(3), Some(at(8)))).await);
    assert!(!swap_one(&store, removal(&mine, Expect::Version(first.version))).await);
    assert_eq!(read(&store, &mine).await, Some(second.clone()));
    assert!(swap_one(&store, removal(&mine, Expect::Version(second.version))).await);
    assert_eq!(read(&store, &mine).await, None);

    let again = made(&store, &mine, json!(4), Some(at(9))).await;
    assert!(![first.version, second.version].contains(&again.version));
    for stale in [first.version, second.version] {
        assert!(!swap_one(&store, set(&mine, Expect::Version(stale), json!(5), None)).await);
        assert!(!swap_one(&store, removal(&mine, Expect::Version(stale))).await);
    }
    assert_eq!(read(&store, &mine).await, Some(again));
    assert_eq!(read(&store, &other).await, Some(untouched));
}

/// Of 32 who make, change or remove one register at once, one does.
pub async fn one_of_racing_swaps_is_made(backend: &dyn Backend) {
    let store = backend.open().await;
    let mine = key("mine");
    for round in 0..10 {
        let expect = match read(&store, &mine).await {
            None => Expect::Absent,
            Some(register) => Expect::Version(register.version),
        };
        let removes = round % 3 == 2;
        let rivals = (0..32).map(|n| Swap {
            key: mine.clone(),
            expect,
            to: (!removes).then(|| (json!({ "round": round, "by": n }), None)),
        });
        let answers = futures::future::join_all(rivals.map(|rival| store.swap(vec![rival]))).await;
        let won: Vec<usize> = answers
            .into_iter()
            .enumerate()
            .filter(|(_, answer)| answer.as_ref().expect("an answer")[0])
            .map(|(n, _)| n)
            .collect();
        assert_eq!(won.len(), 1, "round {round}: {won:?}");
        let there = read(&store, &mine).await.map(|register| register.value);
        assert_eq!(there, (!removes).then(|| json!({ "round": round, "by": won[0] })));
    }
}

/// Each swap of a call stands alone, whichever are refused; the same swap twice is made once.
pub async fn each_swap_of_a_call_stands_alone(backend: &dyn Backend) {
    let store = backend.open().await;
    let mut there = Vec::new();
    for n in 0..6 {
        there.push(made(&store, &key(&format!("there {n}")), json!(n), Some(at(n))).await);
    }
    let version = |n: usize| Expect::Version(there[n].version);
    let stale = |n: usize| Expect::Version(there[n].version - 1);
    let new = key("new");
    let swaps = vec![
        set(&there[0].key, version(0), json!("changed"), None),
        set(&there[1].key, stale(1), json!("changed"), None),
        set(&there[2].key, Expect::Absent, json!("changed"), None),
        removal(&there[3].key, version(3)),
        removal(&there[4].key, stale(4)),
        set(&new, Expect::Absent, json!("made"), Some(at(9))),
        set(&there[5].key, version(5), json!("changed"), Some(at(3))),
        set(&new, Expect::Absent, json!("made"), Some(at(9))),
        set(&there[5].key, version(5), json!("changed"), Some(at(3))),
    ];
    let answers = store.swap(swaps).await.expect("answers");
    assert_eq!(answers[..5], [true, false, false, true, false]);
    assert_eq!((answers[5] as u8 + answers[7] as u8, answers[6] as u8 + answers[8] as u8), (1, 1));
    let keys: Vec<RegisterKey> = there.iter().map(|register| register.key.clone()).chain([new]).collect();
    let now = store.registers(&keys).await.expect("an answer");
    let said: Vec<Option<(Value, Option<Timestamp>)>> =
        now.into_iter().map(|found| found.map(|register| (register.value, register.due_at))).collect();
    assert_eq!(
        said,
        [
            Some((json!("changed"), None)),
            Some((json!(1), Some(at(1)))),
            Some((json!(2), Some(at(2)))),
            None,
            Some((json!(4), Some(at(4)))),
            Some((json!("changed"), Some(at(3)))),
            Some((json!("made"), Some(at(9)))),
        ]
    );
    assert_eq!(store.swap(Vec::new()).await.expect("no answer"), [false; 0]);
    assert_eq!(store.registers(&[]).await.expect("no answer"), []);
}

/// Calls about many registers race with each other: of each register one swap is made, and everybody is told the truth,
/// or that nobody knows.
pub async fn racing_calls_share_the_registers(backend: &dyn Backend) {
    let store = backend.open().await;
    let keys: Vec<RegisterKey> = (0..20).map(|n| key(&format!("{n}"))).collect();
    for _ in 0..3 {
        let before = store.registers(&keys).await.expect("an answer");
        let expect: Vec<Expect> = before
            .iter()
            .map(|found| found.as_ref().map_or(Expect::Absent, |was| Expect::Version(was.version)))
            .collect();
        let calls = (0..8).map(|n| {
            let mine = (0..keys.len()).filter(move |place| (place + n) % 3 != 0);
            let swaps = mine.map(|place| set(&keys[place], expect[place], json!(n), None)).collect();
            store.swap(swaps)
        });
        let answers = futures::future::join_all(calls).await;
        let after = store.registers(&keys).await.expect("an answer");
        let mut winners = vec![Vec::new(); keys.len()];
        for (n, answer) in answers.into_iter().enumerate() {
            // A store may find out too late what it has done.
            let Ok(answer) = answer else { continue };
            let mine = (0..keys.len()).filter(|place| (place + n) % 3 != 0);
            mine.zip(answer).filter(|(_, made)| *made).for_each(|(place, _)| winners[place].push(json!(n)));
        }
        for (winners, now) in winners.iter().zip(after) {
            let now = now.expect("it was made").value;
            assert!(winners.is_empty() || *winners == [now.clone()], "{winners:?} are told so, and {now} is there");
        }
    }
}

/// Registers of every space and tenant are found by their clock, the longest ago first, and pages go on where they
/// ended; one that has no clock any more, or is gone, is not found.
pub async fn due_registers_are_found_by_their_clock(backend: &dyn Backend) {
    let store = backend.open().await;
    let mut all = Vec::new();
    for n in 0..25_u64 {
        let tenant = ["a", "b"][n as usize % 2];
        let key = key_of(Space::ALL[n as usize % 5], tenant, &format!("{n:02}"));
        all.push(made(&store, &key, json!(n), Some(at(100 - n / 4))).await);
    }
    for name in ["never", "no longer", "gone"] {
        let due_at = (name != "never").then(|| at(50));
        let register = made(&store, &key(name), json!(name), due_at).await;
        let expect = Expect::Version(register.version);
        match name {
            "no longer" => assert!(swap_one(&store, set(&register.key, expect, json!(0), None)).await),
            "gone" => assert!(swap_one(&store, removal(&register.key, expect)).await),
            _ => {}
        }
    }
    let found = store.due_registers(at(1_000), None, 1_000).await.expect("an answer");
    assert!(found.is_sorted_by_key(|register| register.due_at));
    let by_key = |mut registers: Vec<Register>| {
        registers.sort_by(|one, other| one.key.cmp(&other.key));
        registers
    };
    assert_eq!(by_key(found.clone()), by_key(all));

    let until = found.iter().filter(|register| register.due_at <= Some(at(97))).count();
    assert!(until > 0 && until < found.len());
    assert_eq!(store.due_registers(at(97), None, 1_000).await.expect("an answer"), found[..until]);
    assert_eq!(store.due_registers(at(93), None, 1_000).await.expect("an answer"), []);
    assert_eq!(store.due_registers(at(1_000), None, 0).await.expect("an answer"), []);
    for limit in [1, 3, 7] {
        let mut paged: Vec<Register> = Vec::new();
        loop {
            let after = paged.last().map(|last| (last.due_at.expect("a clock"), last.key.clone()));
            let page = store.due_registers(at(1_000), after, limit).await.expect("an answer");
            assert!(page.len() <= limit);
            if page.is_empty() {
                break;
            }
            paged.extend(page);
        }
        assert_eq!(paged, found);
    }
}

/// A space is listed by name, a tenant's registers apart from all others', and pages go on where they ended.
pub async fn registers_are_listed_by_name(backend: &dyn Backend) {
    let store = backend.open().await;
    let mut of_a = Vec::new();
    for name in ["b", "a", "a/b", "a.b", "a-b", "0", "ä", "a b"] {
        of_a.push(made(&store, &key_of(Space::Schedule, "a", name), json!(name), None).await);
    }
    of_a.sort_by(|one, other| one.key.name.cmp(&other.key.name));
    let mut all = of_a.clone();
    for (space, tenant) in
        [(Space::Schedule, "a-b"), (Space::Schedule, "a0"), (Space::Schedule, "b"), (Space::Slots, "a")]
    {
        let other = made(&store, &key_of(space, tenant, "a"), json!(tenant), Some(at(1))).await;
        if space == Space::Schedule {
            all.push(other);
        }
    }
    let tenant: Tenant = "a".parse().expect("a name");
    let list = |tenant, after, limit| store.list_registers(Space::Schedule, tenant, after, limit);
    assert_eq!(list(Some(&tenant), None, 100).await.expect("an answer"), of_a);
    assert_eq!(list(Some(&tenant), Some(&of_a[2].key), 3).await.expect("an answer"), of_a[3..6]);
    assert_eq!(list(Some(&tenant), None, 0).await.expect("an answer"), []);
    assert_eq!(store.list_registers(Space::Rate, None, None, 100).await.expect("an answer"), []);
    let whole = list(None, None, 100).await.expect("an answer");
    let mut paged: Vec<Register> = Vec::new();
    loop {
        let after = paged.last().map(|last| last.key.clone());
        let page = store.list_registers(Space::Schedule, None, after.as_ref(), 2).await.expect("an answer");
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(paged, whole);
    let sorted = |mut registers: Vec<Register>| {
        registers.sort_by(|one, other| one.key.cmp(&other.key));
        registers
    };
    assert_eq!(sorted(whole), sorted(all));
}

/// Names that people choose: any text of up to 256 bytes is a name of its own, in each space and for each tenant.
pub async fn any_text_is_a_name(backend: &dyn Backend) {
    let store = backend.open().await;
    let long = "x".repeat(256);
    let names = [
        " ",
        "  ",
        "/",
        "//",
        "a/",
        "/a",
        "a/b",
        "a//b",
        "%2F",
        "a%",
        ".",
        "..",
        "$set",
        "a.b",
        "\"'\\",
        "ü",
        "u\u{308}",
        "Ü",
        "日本語",
        "🚲🚲",
        "null",
        "0",
        &long,
        &long[1..],
        &"é".repeat(128),
        "default/x",
        "unique/default/x",
    ];
    let mut keys = Vec::new();
    for name in names {
        keys.push(key_of(Space::Unique, "default", name));
        keys.push(key_of(Space::Slots, "default", name));
        keys.push(key_of(Space::Unique, "x", name));
    }
    let swaps = keys.iter().enumerate().map(|(n, key)| set(key, Expect::Absent, json!(n), Some(at(n as u64))));
    assert_eq!(store.swap(swaps.collect()).await.expect("answers"), vec![true; keys.len()]);
    keys.reverse();
    let found = store.registers(&keys).await.expect("an answer");
    for (n, (key, found)) in keys.iter().zip(found).enumerate() {
        let found = found.unwrap_or_else(|| panic!("{key:?} is there"));
        assert_eq!((&found.key, found.value), (key, json!(keys.len() - 1 - n)));
    }
    keys.reverse();
    let due = store.due_registers(at(1_000), None, 1_000).await.expect("an answer");
    assert_eq!(due.into_iter().map(|register| register.key).collect::<Vec<_>>(), keys);
}
