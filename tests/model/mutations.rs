//! Rules taken away, one at a time, in the model's copy of the agent's steps.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutation {
    None,
}
