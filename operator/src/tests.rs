//! What the operator does to an API server, against one in memory.

mod afterwards;
mod agreed;
mod api_server;
mod budget;
mod fleet;
mod lab;
mod leader;
mod leftovers;
mod outages;
mod strangers;
mod two_operators;
