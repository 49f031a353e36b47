//! The RabbitMQ backend against a real server: the conformance suite, and bad days.

mod connecting;
mod declaring;
mod hearing;
mod losing;
mod messages;
mod support;

gristmill_broker::conformance::suite!(support::Rabbit::new());
