pub(crate) fn it_is_up_sooner_and_costs_less_than_the_stock_agent() -> lab::Result<()> {
    Ok(())
}
