//! Carrying out what was decided on pods and scale; what is on the stream goes to the shared actor. Client required.
