//! The one clock of the library: monotonic, and counting the time that the machine is suspended.

use std::time::Duration;

use kinex_core::time::Moment;

/// Now.
pub(crate) fn now() -> Moment {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).expect("time since boot is not negative");
    let nanos = u32::try_from(time.tv_nsec).expect("nanoseconds of a second fit");
    Moment::after_origin(Duration::new(seconds, nanos))
}

/// Sleeps until a moment, or at most a little longer than a second: the caller looks at the clock again. (The timer of
/// the runtime does not count suspend.) Never wakes for `None`.
pub(crate) async fn sleep_until(moment: Option<Moment>) {
    match moment {
        Some(moment) => tokio::time::sleep(moment.since(now()).min(GLANCE)).await,
        None => std::future::pending().await,
    }
}

const GLANCE: Duration = Duration::from_secs(1);
