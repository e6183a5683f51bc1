//! What a run prints: a Markdown table and remarks.

use std::fmt;

use crate::generator::Measured;

/// The rows and remarks of a run.
#[derive(Default)]
pub struct Table {
    rows: Vec<(String, Measured)>,
    remarks: Vec<String>,
}

impl Table {
    /// Adds what a load run measured.
    pub fn load(&mut self, name: &str, measured: &Measured) {
        self.rows.push((name.to_owned(), measured.clone()));
    }

    /// Adds a sentence.
    pub fn remark(&mut self, text: &str) {
        self.remarks.push(text.to_owned());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| What | requests | per second | p50 ms | p99 ms | p99.9 ms |\n| --- | ---: | ---: | ---: | ---: | ---: |"
        )?;
        for (name, m) in &self.rows {
            let ms = |share| m.percentile(share).as_secs_f64() * 1e3;
            writeln!(
                f,
                "| {name} | {} | {:.0} | {:.3} | {:.3} | {:.3} |",
                m.requests(),
                m.per_second,
                ms(0.5),
                ms(0.99),
                ms(0.999)
            )?;
        }
        for remark in &self.remarks {
            writeln!(f, "\n- {remark}")?;
        }
        Ok(())
    }
}
