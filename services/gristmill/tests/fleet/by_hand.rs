//! What somebody does to the servers of a fleet by hand, with the tools of these servers and past our programs.

use std::{
    env,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use gristmill_testkit::{DEADLINE, World};
use reqwest::{Client, Method, Url};
use serde_json::{Value, json};

/// How long MongoDB's server may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs one command on the database of a world. The first field names it.
///
/// No service may have MongoDB's driver: this speaks its protocol (`OP_MSG`), as far as it takes.
#[track_caller]
pub(crate) fn run_on_database(world: &World, command: &[(&str, Value)]) {
    let name = world.store_url().rsplit('/').next().and_then(|end| end.split('?').next()).expect("a database");
    let database = json!(name);
    let mut fields = command.iter().map(|(name, value)| (*name, value)).chain([("$db", &database)]);
    let mut message = Vec::new();
    // Its number, what it answers, its kind, and no flags; then one section of the first kind.
    for number in [1, 0, 2_013, 0] {
        message.extend(i32::to_le_bytes(number));
    }
    message.push(0);
    message.extend(document(&mut fields));
    let mut stream = TcpStream::connect(world.store_address()).expect("the server is there");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    stream.write_all(&length_of(message.len() + 4)).and_then(|()| stream.write_all(&message)).expect("sent");
    let mut length = [0; 4];
    stream.read_exact(&mut length).expect("an answer");
    let mut answer = vec![0; u32::from_le_bytes(length) as usize - 4];
    stream.read_exact(&mut answer).expect("a whole answer");
    let mut well = b"\x01ok\0".to_vec();
    well.extend(1_f64.to_le_bytes());
    assert!(answer.windows(well.len()).any(|bytes| bytes == well), "{}", String::from_utf8_lossy(&answer));
}

/// A document of BSON.
fn document<'a>(fields: &mut dyn Iterator<Item = (&'a str, &'a Value)>) -> Vec<u8> {
    let mut elements = Vec::new();
    for (name, value) in fields {
        let (kind, bytes) = match value {
            Value::String(text) => (0x02, [&length_of(text.len() + 1)[..], text.as_bytes(), &[0]].concat()),
            Value::Object(fields) => (0x03, document(&mut fields.iter().map(|(name, value)| (name.as_str(), value)))),
            Value::Array(items) => {
                let places: Vec<String> = (0..items.len()).map(|place| place.to_string()).collect();
                (0x04, document(&mut places.iter().map(String::as_str).zip(items)))
            }
            Value::Bool(yes) => (0x08, vec![u8::from(*yes)]),
            Value::Number(number) => (0x12, number.as_i64().expect("a whole number").to_le_bytes().to_vec()),
            Value::Null => (0x0a, Vec::new()),
        };
        elements.push(kind);
        elements.extend([name.as_bytes(), &[0], &bytes].concat());
    }
    [&length_of(elements.len() + 5)[..], &elements, &[0]].concat()
}

fn length_of(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).expect("it is short").to_le_bytes()
}

/// One queue of RabbitMQ, through its management interface.
pub(crate) struct RabbitQueue {
    http: Client,
    url: Url,
}

impl RabbitQueue {
    pub(crate) fn of(world: &World, name: &str) -> Self {
        let mut url = Url::parse(&env::var("RABBITMQ_MANAGEMENT_URL").expect("it is set")).expect("a URL");
        let broker = Url::parse(world.broker_url()).expect("a URL");
        let vhost = broker.path().trim_start_matches('/');
        url.path_segments_mut().expect("http").pop_if_empty().extend(["api", "queues", vhost, name]);
        Self { http: Client::builder().no_proxy().timeout(DEADLINE).build().expect("a client"), url }
    }

    /// Declares it as nobody of ours does: a classic queue without a limit.
    pub(crate) async fn declare_otherwise(&self) {
        self.ask(Method::PUT, json!({"durable": true, "arguments": {"x-queue-type": "classic"}})).await;
    }

    pub(crate) async fn delete(&self) {
        self.ask(Method::DELETE, json!({})).await;
    }

    async fn ask(&self, method: Method, body: Value) {
        let answer = self.http.request(method, self.url.clone()).json(&body).send().await.expect("an answer");
        answer.error_for_status().expect("it is done");
    }
}

/// For `broker.url`, when something at this address stands before RabbitMQ.
pub(crate) fn broker_url_through(world: &World, address: SocketAddr) -> String {
    let mut url = Url::parse(world.broker_url()).expect("a URL");
    url.set_host(Some(&address.ip().to_string())).expect("a host");
    url.set_port(Some(address.port())).expect("a port");
    url.into()
}

/// Where RabbitMQ listens, such as `127.0.0.1:5672`.
pub(crate) fn broker_address(world: &World) -> String {
    let url = Url::parse(world.broker_url()).expect("a URL");
    format!("{}:{}", url.host_str().expect("a host"), url.port().unwrap_or(5_672))
}
