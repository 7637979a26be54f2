//! From what the SDK says to what to do about it.

use kinex_kcl::ports::{Fault, FaultKind};

pub(crate) fn fault(kind: FaultKind, request: impl Into<String>, message: impl Into<String>) -> Fault {
    Fault {
        kind,
        request: request.into(),
        message: message.into(),
        source: None,
    }
}

pub(crate) fn unbuilt<T>(request: &str) -> Result<T, Fault> {
    Err(fault(FaultKind::Invalid, request, "not built yet"))
}
