//! What the arbiter decides: a pure function of its state, the time and an event.
