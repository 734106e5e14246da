//! The same cluster with the stock agent: how soon it is up, what watching it costs, and how soon it is whole again
//! after a fault; the latter with PAF, too.
//!
//! The other agents' repairs by hand take minutes: `EXPGSQL_STOCK=1` lets all of them meet every fault, without it the
//! stock agent has a switchover alone, and PAF is left out.
//!
//! Figures of one run on one machine, so only what is compared within it is asserted.

use std::time::{Duration, Instant};

use lab::{Agent, Cluster, Cost, RepMode, Result, Site};

use super::redundancy::{self, FAILURE_TIMEOUT, Fault, Recovery, Whole};
use super::split;
use super::stage::{LIMIT, ON_DIVERGENCE, expect, expgsql};

/// The exit code of a monitor that finds a promoted instance.
const RUNNING_PROMOTED: i32 = 8;

struct Figures {
    from_configuration: Duration,
    monitor: Cost,
    recoveries: Vec<Recovery>,
}

impl Figures {
    fn whole_after(&self, fault: Fault) -> Option<&Whole> {
        let mut recoveries = self.recoveries.iter();
        let found = recoveries.find(|recovery| recovery.fault == fault)?;
        Some(&found.whole)
    }
}

pub(crate) fn it_is_up_sooner_costs_less_and_is_whole_again_by_itself() -> Result<()> {
    let in_full = split::others_asked_for();
    let ours = measure("expgsql", expgsql()?, &redundancy::ALL)?;
    let for_stock: &[Fault] = if in_full {
        &redundancy::ALL
    } else {
        &[Fault::Switchover]
    };
    let stock = measure("stock pgsql", Agent::StockPgsql, for_stock)?;
    let mut table = vec![
        ("expgsql", ours.recoveries.clone()),
        ("stock pgsql", stock.recoveries.clone()),
    ];
    if in_full {
        let paf = measure("PAF", Agent::Paf, &redundancy::ALL)?;
        table.push(("PAF", paf.recoveries));
    }
    redundancy::print(&table);
    whole_again(&ours, &stock)?;
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
    expect(cost.processes == 2, || {
        format!("one monitor takes {} processes", cost.processes)
    })?;
    expect(cost.processes < stock_cost.processes, || {
        format!("{cost:?}, the stock agent {stock_cost:?}")
    })?;
    expect(cost.cpu < stock_cost.cpu, || {
        format!("{cost:?}, the stock agent {stock_cost:?}")
    })
}

/// After every fault ours comes back by itself; where the other one does, too, after a switchover, not later than it.
fn whole_again(ours: &Figures, stock: &Figures) -> Result<()> {
    for recovery in &ours.recoveries {
        expect(matches!(recovery.whole, Whole::After(_)), || {
            format!("{}: {:?}", recovery.fault, recovery.whole)
        })?;
    }
    let fault = Fault::Switchover;
    match (ours.whole_after(fault), stock.whole_after(fault)) {
        (Some(Whole::After(time)), Some(Whole::After(stock_time))) => {
            expect(time <= stock_time, || {
                format!("whole {time:?} after a switchover, the stock agent {stock_time:?}")
            })
        }
        (Some(_), _) | (None, _) => Ok(()),
    }
}

fn measure(name: &str, agent: Agent, faults: &[Fault]) -> Result<Figures> {
    let boot = Instant::now();
    let repairs = matches!(agent, Agent::Expgsql { .. });
    let mut builder = Cluster::builder()
        .agent(agent)
        .mode(RepMode::Sync)
        // The others' too.
        .site(Site::Plain)
        .failure_timeout(FAILURE_TIMEOUT);
    if repairs {
        builder = builder.param(ON_DIVERGENCE, "rewind");
    }
    let lab = builder.boot()?;
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
        recoveries: redundancy::recoveries(&lab, faults)?,
    })
}
