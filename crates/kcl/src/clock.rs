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
