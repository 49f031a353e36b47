//! What the product promises over HTTP, checked in both modes by the same words: the embedded server, and a fleet of
//! two replicas, two workers and two schedulers behind nginx. Nothing here knows which of them it talks to, but for
//! what the gateway keeps to itself. Requests to the fleet go to its replicas in turn, so that every check asks both.

mod bad_input;
mod batches;
mod cancelling;
mod dead_letters;
mod errors;
mod failures;
mod gates;
mod jobs;
mod keys;
mod lists;
mod platform;
mod queues;
mod schedules;
mod stand;
mod texts;
mod times;

/// The checks, each run once in each mode.
macro_rules! suite {
    ($($topic:ident: $($check:ident),+;)+) => {
        suite! { @mode embedded: $($($topic::$check),+),+ }
        suite! { @mode fleet: $($($topic::$check),+),+ }
    };
    (@mode $mode:ident: $($topic:ident::$check:ident),+) => {
        mod $mode {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $check() {
                let stand = crate::stand::$mode().await;
                crate::$topic::$check(stand.http()).await;
            })+
        }
    };
}

suite! {
    jobs:
        a_job_is_accepted_run_and_its_result_fetched,
        a_job_that_has_not_changed_is_not_sent_again,
        whoever_waits_is_answered_at_the_end,
        a_payload_comes_back_as_it_was_sent,
        a_job_that_has_ended_is_deleted;
    keys:
        a_key_makes_the_same_request_the_same_job,
        many_at_once_with_one_key_make_one_job,
        a_key_names_each_item_of_a_batch_by_its_place;
    batches:
        each_item_of_a_batch_has_its_own_outcome,
        a_batch_of_a_thousand_is_run;
    texts:
        a_book_is_streamed_and_counted,
        a_large_text_of_unknown_length_is_counted,
        texts_that_are_refused_leave_nothing,
        a_large_payload_and_a_large_result_are_kept_whole;
    times:
        a_job_waits_for_its_time,
        a_job_that_comes_too_late_fails,
        an_attempt_that_takes_too_long_fails;
    failures:
        a_job_is_tried_again_until_it_succeeds,
        a_fatal_error_makes_no_other_attempt,
        an_attempt_waits_at_least_as_long_as_the_error_says,
        a_dead_letter_runs_again_by_hand;
    dead_letters:
        dead_letters_are_replayed_in_several_calls,
        dead_letters_are_discarded;
    gates:
        of_many_at_once_one_gets_a_unique_key,
        a_key_can_be_held_for_a_time_and_until_a_job_starts,
        keys_count_in_batches_and_for_texts,
        a_debounced_job_runs_once_with_the_last_payload,
        a_limited_job_says_how_and_runs;
    schedules:
        a_schedule_is_put_told_changed_and_deleted,
        schedules_come_in_pages_by_name,
        a_schedule_fires_each_time_once_until_it_is_paused;
    bad_input:
        times_and_waits_that_cannot_be_are_refused,
        gates_that_make_no_sense_are_refused,
        schedules_that_make_no_sense_are_refused,
        replays_and_rates_that_make_no_sense_are_refused;
    cancelling:
        a_job_that_waits_for_its_time_is_cancelled,
        a_queued_job_is_cancelled_and_runs_when_it_is_retried,
        a_running_job_is_asked_to_stop;
    queues:
        a_queue_can_be_used_at_once_through_every_replica,
        a_paused_queue_starts_nothing_until_it_is_resumed,
        a_queue_has_a_rate_until_it_is_lifted,
        priorities_are_told;
    lists:
        every_filter_filters,
        pages_have_every_job_once_while_more_come_in,
        what_is_no_question_is_refused_by_name;
    errors:
        an_unknown_job_is_not_found,
        what_makes_no_sense_is_refused_by_name,
        bodies_have_a_limit,
        unknown_addresses_and_wrong_methods_are_problems,
        every_answer_carries_the_id_of_its_request;
    platform:
        health_and_the_reference_are_served,
        job_types_and_workers_are_told,
        ended_jobs_are_counted;
}
