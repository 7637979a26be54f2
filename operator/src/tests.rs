//! What the operator does to an API server, against one in memory.

mod api_server;
mod leader;
mod strangers;
