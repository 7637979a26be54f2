//! The ports in memory: for tests of this library, and of yours.
//!
//! Both are cheap to clone; the clones share their state, as the clients of one table or one stream do.

mod store;
mod stream;

pub use store::{InjectedFault, MemoryStore};
pub use stream::{Link, MemoryStream};
