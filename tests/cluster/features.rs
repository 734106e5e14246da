pub(crate) fn slots_receivers_edited_and_outside_standbys_are_looked_after() -> lab::Result<()> {
    Ok(())
}
