//! Who decides, when several operators are there. Client required.
