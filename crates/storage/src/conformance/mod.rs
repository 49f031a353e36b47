//! The suite that every store passes. A backend's tests say how to open it and get one test for each check:
//!
//! ```text
//! gristmill_storage::conformance::suite!(MyBackend::new());
//! ```

mod build;

pub mod archive;
pub mod blobs;
pub mod bodies;
pub mod changes;
pub mod claims;
pub mod counts;
pub mod duties;
pub mod insertion;
pub mod leases;
pub mod lists;
pub mod logs;
pub mod records;
pub mod registers;
pub mod removal;
pub mod restart;
pub mod walk;

use std::sync::Arc;

use async_trait::async_trait;

pub use build::{at, claim_of, get, insert, job, job_of, succeed, text};

use crate::Store;

/// A place for one store, empty at first.
#[async_trait]
pub trait Backend: Send + Sync {
    /// Opens the store that is there. It finds what an earlier opening has stored, and is opened again only
    /// after every reference to the earlier one was dropped.
    async fn open(&self) -> Arc<dyn Store>;
}

/// Makes one `#[tokio::test]` of each check; the expression makes a [`Backend`] for one test.
#[macro_export]
macro_rules! conformance_suite {
    ($backend:expr) => {
        $crate::conformance_suite! { @tests $backend;
            insertion: [
                a_duplicate_in_a_batch_is_returned_and_the_others_are_stored,
                a_key_is_taken_by_the_first_of_racing_inserts,
                every_field_comes_back,
                gates_stay_with_their_job,
                tenants_never_see_each_other,
            ]
            claims: [
                one_of_64_racing_claimers_wins,
                racing_batches_share_the_jobs,
                only_queued_jobs_are_claimed,
                rescued_jobs_are_claimed_alone,
                a_claim_whose_answer_was_lost_is_read_back,
            ]
            leases: [
                a_lost_lease_cannot_settle,
                a_settle_is_known_by_its_lease,
                a_renewal_tells_how_the_lease_stands,
                a_heartbeat_saves_a_lease_from_its_rescue,
            ]
            changes: [
                every_part_of_a_guard_is_checked,
                each_change_of_a_batch_stands_alone,
                one_of_racing_changes_wins,
                a_payload_is_replaced_with_its_change_or_not_at_all,
                the_history_tells_every_attempt,
            ]
            lists: [
                every_filter_filters,
                pages_follow_each_order,
                jobs_present_at_the_first_page_appear_once_while_others_come,
                a_page_reads_a_bounded_stretch,
                dead_letters_are_listed_by_their_failure,
            ]
            duties: [
                due_jobs_are_found_by_state_and_clock,
                each_lane_is_scanned_by_itself,
                a_scan_is_resumed_where_it_ended,
                lanes_are_told_once_each,
                jobs_are_counted_by_state_and_clock,
                overdue_jobs_are_those_that_have_not_started,
                waiting_jobs_are_those_still_queued,
                many_jobs_are_read_at_once,
                the_oldest_waiting_job_of_a_queue_is_told,
            ]
            removal: [
                a_job_is_erased_only_as_it_was_read,
                everything_of_a_job_goes_with_it,
            ]
            logs: [
                lines_come_back_in_order,
                a_log_keeps_its_first_lines,
            ]
            counts: [
                counts_match_the_lists_after_a_random_walk,
            ]
            bodies: [
                bodies_come_back_byte_for_byte,
                a_large_body_is_a_blob,
            ]
            blobs: [
                a_blob_is_read_from_any_byte,
                a_blob_is_committed_once,
                an_expired_upload_is_collected_and_takes_no_more,
                orphans_are_collected_and_named_blobs_are_kept,
                dropped_blobs_are_gone,
                a_blob_that_a_job_names_is_not_dropped,
                a_job_never_names_a_blob_that_is_gone,
                collecting_is_bounded,
            ]
            records: [
                records_are_put_added_and_dropped,
                a_record_is_replaced_only_as_it_was_read,
                no_racing_replacement_is_lost,
                one_of_racing_leaders_leads,
                the_lead_is_kept_by_renewal_and_taken_after_its_end,
            ]
            registers: [
                a_register_is_changed_only_as_it_was_read,
                one_of_racing_swaps_is_made,
                each_swap_of_a_call_stands_alone,
                racing_calls_share_the_registers,
                due_registers_are_found_by_their_clock,
                registers_are_listed_by_name,
                any_text_is_a_name,
            ]
            archive: [
                a_walk_meets_every_job_once,
                jobs_move_as_they_are,
                a_key_that_is_taken_stays_as_it_is,
                a_restored_job_lives_on,
            ]
            restart: [
                a_restart_keeps_everything,
            ]
            walk: [
                changes_are_carried_out_as_the_job_says,
            ]
        }
    };
    (@tests $backend:expr; $($module:ident: [$($check:ident),* $(,)?])*) => {
        $(mod $module {
            use super::*;

            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $check() {
                    $crate::conformance::$module::$check(&$backend).await;
                }
            )*
        })*
    };
}
#[doc(inline)]
pub use conformance_suite as suite;
