//! From what the watches and the endpoint show to a world. Client required.
