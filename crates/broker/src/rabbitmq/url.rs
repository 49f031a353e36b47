//! The URL of a RabbitMQ server, read once. What is wrong with it is said without its password.

use lapin::uri::AMQPUri;

use crate::BrokerError;

/// In seconds; also how a broker that went without a word is noticed. A worker that is frozen is given messages until
/// RabbitMQ has looked for a sign of it twice in vain, which is three times this at most. Less leads to false alarms.
///
/// Source: RabbitMQ, "Detecting Dead TCP Connections with Heartbeats": 5 to 20 seconds suit most environments.
const HEARTBEAT: u16 = 5;
/// What the names of our queues and exchanges begin with, unless the URL says otherwise.
const PREFIX: &str = "gristmill";
const LONGEST_PREFIX: usize = 64;

/// Where a server is, and what is ours there.
#[derive(Clone)]
pub(super) struct Address {
    pub(super) uri: AMQPUri,
    /// What the names of our queues and exchanges begin with.
    pub(super) prefix: String,
}

impl Address {
    /// Reads `amqp://user:password@host:port/vhost`, or `amqps://` for TLS. A percent sign in a part is written
    /// `%25`, and the vhost `/` is `%2f` or nothing. `?prefix=other` keeps two installations on one vhost apart.
    ///
    /// # Errors
    /// It is no such URL.
    pub(super) fn parse(url: &str) -> Result<Self, BrokerError> {
        // The parser's own words may repeat the URL with its password.
        let malformed =
            || BrokerError::Url("is not in the form amqp://user:password@host:port/vhost (amqps:// for TLS)".into());
        let mut uri: AMQPUri = url.parse().map_err(|_| malformed())?;
        let (rest, query) = url.split_once('?').unwrap_or((url, ""));
        let authority = rest.split_once("://").map(|(_, rest)| rest).ok_or_else(malformed)?;
        let host = authority.split('/').next().and_then(|part| part.rsplit('@').next()).unwrap_or_default();
        if host.is_empty() || host.starts_with(':') {
            return Err(BrokerError::Url("names no host".into()));
        }
        // The parser takes every IPv6 address for localhost.
        if let Some((address, _)) = host.strip_prefix('[').and_then(|host| host.split_once(']')) {
            uri.authority.host = address.to_owned();
        }
        if uri.vhost.is_empty() {
            uri.vhost = "/".into();
        }
        uri.query.heartbeat.get_or_insert(HEARTBEAT);
        let prefix = query.split('&').find_map(|pair| pair.strip_prefix("prefix=")).unwrap_or(PREFIX).to_owned();
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if prefix.is_empty() || prefix.len() > LONGEST_PREFIX || !prefix.bytes().all(is_name) {
            return Err(BrokerError::Url(format!(
                "its prefix must be 1 to {LONGEST_PREFIX} letters, digits, hyphens, underscores or dots"
            )));
        }
        Ok(Self { uri, prefix })
    }

    /// The host and port, for people.
    pub(super) fn host(&self) -> String {
        format!("{}:{}", self.uri.authority.host, self.uri.authority.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_read() {
        let address = Address::parse("amqps://someone:p%40ss@rabbit.example:5999/jobs?prefix=a.b").expect("a URL");
        assert_eq!(address.host(), "rabbit.example:5999");
        assert_eq!(address.uri.authority.userinfo.password, "p@ss");
        assert_eq!((address.uri.vhost.as_str(), address.prefix.as_str()), ("jobs", "a.b"));
        assert_eq!(address.uri.query.heartbeat, Some(HEARTBEAT));
    }

    #[test]
    fn the_defaults_are_those_of_rabbitmq() {
        for url in ["amqp://localhost", "amqp://localhost/", "amqp://guest:guest@localhost:5672/%2f"] {
            let address = Address::parse(url).expect(url);
            assert_eq!((address.host().as_str(), address.uri.vhost.as_str()), ("localhost:5672", "/"), "{url}");
            assert_eq!(address.prefix, "gristmill", "{url}");
        }
    }

    #[test]
    fn an_ipv6_host_is_kept() {
        assert_eq!(Address::parse("amqp://u:p@[2001:db8::1]:5673/x").expect("a URL").uri.authority.host, "2001:db8::1");
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for url in [
            "amqp://u:s3cret@host:port/",
            "amqp://u:s3cret@host:99999/",
            "amqp://u:s3cret@/vhost",
            "amqp://u:s3cret@:5672/vhost",
            "amqp:u:s3cret@host",
            "amqp://u:s3cret@host/%ff",
            "amqp://u:s3cret@host/?heartbeat=s3cret",
            "amqp://u:s3cret@host/?prefix=s3cret/",
            "amqp://u:s3cret@host/?prefix=",
        ] {
            let Err(BrokerError::Url(reason)) = Address::parse(url) else { panic!("{url} was taken") };
            assert!(!reason.contains("s3cret"), "{reason}");
        }
    }
}
