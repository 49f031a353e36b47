//! Metrics of the requests. The handles are kept: looking one up by its labels costs more than counting.

use std::{cell::RefCell, collections::HashMap, sync::Arc, time::Duration};

use actix_web::http::{Method, StatusCode};
use metrics::{Counter, Histogram, counter, histogram};

use crate::routes::Table;

/// The meter of one serving thread.
pub(crate) struct Meter {
    table: Arc<Table>,
    handles: RefCell<HashMap<Labels, Handles>>,
}

/// Route, method and status.
type Labels = (Option<usize>, &'static str, u16);

struct Handles {
    requests: Counter,
    seconds: Histogram,
}

impl Meter {
    pub(crate) fn new(table: Arc<Table>) -> Self {
        Self { table, handles: RefCell::default() }
    }

    /// Counts one answer.
    pub(crate) fn count(&self, route: Option<usize>, method: &Method, status: StatusCode, took: Duration) {
        let method = word(method);
        let mut handles = self.handles.borrow_mut();
        let handles = handles.entry((route, method, status.as_u16())).or_insert_with(|| {
            let route = self.table.pattern(route).to_owned();
            Handles {
                requests: counter!("gristmill_http_requests_total", "method" => method, "route" => route.clone(), "status" => status.as_str().to_owned()),
                seconds: histogram!("gristmill_http_request_seconds", "method" => method, "route" => route),
            }
        });
        handles.requests.increment(1);
        handles.seconds.record(took.as_secs_f64());
    }
}

/// A method that anybody may have made up must not become a label.
fn word(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}
