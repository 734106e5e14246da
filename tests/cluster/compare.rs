//! The same cluster with the stock agent: how soon it is up, and what watching it costs.
//!
//! Figures of one run on one machine, so only what is compared within it is asserted.

use std::time::{Duration, Instant};

use lab::{Agent, Cluster, Cost, RepMode, Result};

use super::stage::{LIMIT, expect, expgsql};

/// The exit code of a monitor that finds a promoted instance.
const RUNNING_PROMOTED: i32 = 8;

struct Figures {
    from_configuration: Duration,
    monitor: Cost,
}

pub(crate) fn it_is_up_sooner_and_costs_less_than_the_stock_agent() -> Result<()> {
    let ours = measure("expgsql", expgsql()?)?;
    let stock = measure("stock pgsql", Agent::StockPgsql)?;
    for (name, cost) in [("expgsql", ours.monitor), ("stock pgsql", stock.monitor)] {
        expect(cost.status == RUNNING_PROMOTED, || {
            format!("monitor of {name} ended with {}", cost.status)
        })?;
    }
    let (up, stock_up) = (ours.from_configuration, stock.from_configuration);
    expect(up < stock_up, || {
        format!("healthy {up:?} after the configuration, the stock agent {stock_up:?}")
    })?;
    let (cost, stock_cost) = (ours.monitor, stock.monitor);
    expect(cost.processes <= 3, || {
        format!("one monitor takes {} processes", cost.processes)
    })?;
    expect(cost.processes < stock_cost.processes, || {
        format!("{cost:?}, the stock agent {stock_cost:?}")
    })?;
    expect(cost.cpu < stock_cost.cpu, || {
        format!("{cost:?}, the stock agent {stock_cost:?}")
    })
}

fn measure(name: &str, agent: Agent) -> Result<Figures> {
    let boot = Instant::now();
    let lab = Cluster::builder().agent(agent).mode(RepMode::Sync).boot()?;
    lab.form()?;
    lab.prepare_configuration()?;
    let configuration = Instant::now();
    lab.configure()?;
    lab.wait_healthy(LIMIT)?;
    let (from_boot, from_configuration) = (boot.elapsed(), configuration.elapsed());
    let monitor = lab.measure_agent(lab.primary()?, "monitor")?;
    println!(
        "  {name:<12} healthy {:>5.1} s after boot, {:>5.1} s after configuration; monitor on the primary: {} processes, {:.0} ms, {:.0} ms CPU",
        from_boot.as_secs_f64(),
        from_configuration.as_secs_f64(),
        monitor.processes,
        monitor.wall.as_secs_f64() * 1e3,
        monitor.cpu.as_secs_f64() * 1e3,
    );
    Ok(Figures {
        from_configuration,
        monitor,
    })
}
