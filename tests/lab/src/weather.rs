//! A bad line to one host: delay, loss, little bandwidth.

use std::time::Duration;

use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::host::Node;
use crate::network::shaping;
use crate::process::Output;
use crate::progress::note;

/// How bad a line is, in each direction.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Weather {
    /// Added to every packet's way.
    pub delay: Duration,
    /// Share of packets lost, in percent.
    pub loss: f64,
    /// Bandwidth in kbit/s; `None`: unlimited.
    pub rate: Option<u32>,
}

impl Weather {
    fn netem(self) -> String {
        let rate = self
            .rate
            .map(|kbit| format!(" rate {kbit}kbit"))
            .unwrap_or_default();
        format!(
            "netem delay {}us loss {}%{rate} limit 10000",
            self.delay.as_micros(),
            self.loss
        )
    }
}

const POSTGRES_PORT: u16 = 5432;

/// The lab's own chain, so that its rules can be told from the agent's.
const CHAIN: &str = "LAB_LOSS";

impl Cluster {
    /// Makes the line between the switch and a host bad, both ways. Replaces earlier weather.
    ///
    /// Where the kernel has no `netem`, loss and bandwidth are made by other means, and delay is refused.
    ///
    /// # Errors
    /// [`Error::Other`] for delay on a kernel without netem, [`Error::Failed`] from tc or iptables.
    pub fn weather(&self, node: &Node, weather: Weather) -> Result<()> {
        self.clear_weather(node)?;
        note(format!("bad line to {}: {weather:?}", node.name()));
        let outcome = node.sh(&shaping("eth0", Some(&weather.netem())))?;
        if outcome.success() {
            return self.switch().shape(node.name(), Some(&weather.netem()));
        }
        if !outcome.text().contains("unknown") {
            return outcome.ok().map(drop);
        }
        self.weather_without_netem(node, weather, &outcome)
    }

    fn weather_without_netem(&self, node: &Node, weather: Weather, refusal: &Output) -> Result<()> {
        if weather.delay > Duration::ZERO {
            return Err(Error::Other(format!(
                "this kernel can't delay packets, it has no sch_netem: {}",
                refusal.text()
            )));
        }
        if let Some(kbit) = weather.rate {
            let bucket = format!("tbf rate {kbit}kbit burst 32kbit latency 500ms");
            node.sh(&shaping("eth0", Some(&bucket)))?.ok()?;
            self.switch().shape(node.name(), Some(&bucket))?;
        }
        if weather.loss > 0.0 {
            let probability = weather.loss / 100.0;
            node.sh(&format!(
                "iptables -N {CHAIN} && iptables -A {CHAIN} -m statistic --mode random --probability {probability} -j DROP && \
                 iptables -I INPUT -i eth0 -j {CHAIN} && iptables -I OUTPUT -o eth0 -j {CHAIN}"
            ))?
            .ok()?;
        }
        Ok(())
    }

    /// Lets what PostgreSQL elsewhere sends reach a host no faster than this: a standby that catches up does so slowly,
    /// while the cluster's own messages pass as before. [`Cluster::weather`] narrows the whole line, and then the node is
    /// lost to the others as well.
    ///
    /// # Errors
    /// [`Error::Failed`] from tc.
    pub fn throttle_replication(&self, node: &Node, kbit: u32) -> Result<()> {
        note(format!("replication to {} at {kbit} kbit/s", node.name()));
        self.switch().throttle(node.name(), POSTGRES_PORT, kbit)
    }

    /// Makes the line to a host good again.
    ///
    /// # Errors
    /// [`Error::PoweredOff`], or [`Error::Failed`] from tc.
    pub fn clear_weather(&self, node: &Node) -> Result<()> {
        let rules = format!(
            "iptables -D INPUT -i eth0 -j {CHAIN}; iptables -D OUTPUT -o eth0 -j {CHAIN}; iptables -F {CHAIN}; iptables -X {CHAIN}"
        );
        node.sh(&format!(
            "{{ {rules}; }} 2>/dev/null; {}",
            shaping("eth0", None)
        ))?
        .ok()?;
        self.switch().shape(node.name(), None)
    }
}
