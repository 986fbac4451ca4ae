//! What was measured, and what it must be.

use std::fmt;
use std::path::Path;

use crate::support::ledger::{Ledger, Report};
use crate::support::{Server, process};

/// Something measured, and what it must be.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) measured: String,
    pub(crate) bar: String,
    pub(crate) holds: bool,
}

/// What a scenario measured, and the ledger behind it.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) figures: Vec<Figure>,
    pub(crate) report: Option<Report>,
}

impl Outcome {
    pub(crate) fn figure(
        &mut self,
        name: impl Into<String>,
        measured: impl Into<String>,
        bar: impl Into<String>,
        holds: bool,
    ) {
        self.figures.push(Figure { name: name.into(), measured: measured.into(), bar: bar.into(), holds });
    }

    /// At most `bar`, with a unit.
    pub(crate) fn at_most<T: PartialOrd + fmt::Display>(&mut self, name: &str, measured: T, bar: T, unit: &str) {
        let holds = measured <= bar;
        self.figure(name, format!("{measured:.3}{unit}"), format!("<= {bar}{unit}"), holds);
    }

    /// Memory of the arbiter that it did not have when it had `resident` KiB. What is freed lies about in its heap until that
    /// has been full once, which takes some hundred reloads: so much is no leak.
    pub(crate) fn arbiter_grown(&mut self, what: &str, server: &Server, resident: u64) {
        let grown = process::anonymous(server.pid).saturating_sub(resident);
        self.at_most(&format!("{what}: growth of the arbiter's memory, of {resident} KiB"), grown, 64, " KiB");
    }

    /// Ends the ledger; nothing may be lost, nor answered twice.
    pub(crate) fn nothing_lost(&mut self, what: &str, ledger: Ledger, server: &Server) {
        let report = ledger.finish();
        self.audit(what, &report, server, 0);
        self.report = Some(report);
    }

    pub(crate) fn audit(&mut self, what: &str, report: &Report, server: &Server, allowed: usize) {
        if report.lost.len() > allowed {
            eprintln!("{}", server.log());
        }
        self.audit_with(what, report, &server.answered(), allowed);
    }

    pub(crate) fn audit_with(&mut self, what: &str, report: &Report, answered: &Path, allowed: usize) {
        let audit = report.audit(answered);
        let lost = report.lost.len() - allowed;
        self.figure(
            format!("{what}: lost"),
            format!("{lost} of {}", report.total()),
            "0",
            lost == 0 && report.total() > 100,
        );
        let twice = audit.twice + audit.phantom;
        self.figure(format!("{what}: answered twice or by nobody"), twice.to_string(), "0", twice == 0);
    }

    /// Fails the test with everything that was measured if a bar is missed.
    #[track_caller]
    pub(crate) fn check(self) {
        let report = self.report.map(|report| report.to_string()).unwrap_or_default();
        for figure in &self.figures {
            eprintln!("{}: {} ({})", figure.name, figure.measured, figure.bar);
        }
        let missed: Vec<_> = self.figures.iter().filter(|figure| !figure.holds).collect();
        assert!(missed.is_empty(), "{missed:#?}\n{report}");
    }
}
