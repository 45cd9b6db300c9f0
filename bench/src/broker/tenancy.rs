//! Many tenants with a long past against one: what each session of the database weighs, and how long reads take.

use std::fs;
use std::path::PathBuf;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

use super::duel::Runs;
use super::duel::measured;
use super::entities::{self, id};
use super::http::write_request;
use super::load::{self, Load, Work};
use super::postgres::Database;
use super::reads::retrieval;
use super::replica::{Replica, Setup};
use super::{Rig, say};
use crate::error::Error;
use crate::random::Random;
use crate::report::Report;

/// MiB of private memory of a session.
const PRIVATE: f64 = 60.0;
/// How many times as long a read may take.
const TIMES: f64 = 1.2;
/// Entities of each tenant; each of them has a past.
const ENTITIES: usize = 50;

/// Many tenants against one.
pub async fn tenancy(rig: &mut Rig<'_>, report: &mut Report) -> Result<(), Error> {
    let one = Side::make(rig, 1).await?;
    let many = Side::make(rig, rig.args.tenants).await?;
    let names = [
        format!("one tenant, {} months", rig.args.months),
        format!("{} tenants, {} months", rig.args.tenants, rig.args.months),
    ];
    for (what, is_past) in [("retrieve by id", false), ("past of an entity", true)] {
        let mut most = f64::INFINITY;
        for side in [&one, &many] {
            // The first time everything is touched.
            side.read(rig, is_past, None)?;
            most = most.min(side.read(rig, is_past, None)?.per_second);
        }
        let mut runs: [Runs; 2] = Default::default();
        for _ in 0..rig.args.rounds {
            for (side, runs) in [&one, &many].into_iter().zip(&mut runs) {
                runs.0.push(side.read(rig, is_past, Some(most / 2.0))?);
            }
        }
        let [alone, among] = &runs;
        report.at_most(
            format!("{what}: p50, {} / one", rig.args.tenants),
            among.median(|run| run.p50) / alone.median(|run| run.p50),
            "x",
            TIMES,
        );
        for (name, runs) in names.iter().zip(&runs) {
            report.fact(format!("{what}, {name}: p50"), runs.median(|run| run.p50), "ms");
            report.fact(
                format!("{what}, {name}: CPU of the database"),
                runs.median(|run| run.database),
                "ms/request",
            );
            report.fact(
                format!("{what}, {name}: requests"),
                runs.median(|run| run.per_second),
                "/s",
            );
            report.fact(format!("{what}, {name}: p99"), runs.median(|run| run.p99), "ms");
        }
    }
    for (name, side) in names.iter().zip([&one, &many]) {
        let (most, sessions) = side.private(rig)?;
        let row = format!("private memory of a session, the most of {sessions}, {name}");
        report.at_most(row, most, "MiB", PRIVATE);
    }
    for side in [one, many] {
        let [replica] = side.replicas;
        rig.end_all("tenancy", side.database, replica).await?;
    }
    Ok(())
}

/// A database with so many tenants.
struct Side {
    database: Database,
    replicas: [Replica; 1],
    tenants: Vec<String>,
}

impl Side {
    async fn make(rig: &Rig<'_>, tenants: usize) -> Result<Self, Error> {
        say(&format!(
            "making {tenants} tenants with {} months",
            rig.args.months
        ));
        let tenants: Vec<String> = (0..tenants).map(|number| format!("city-{number}")).collect();
        let setup = Setup {
            tenants: tenants.clone(),
            keeps_past: true,
            ..rig.setup()
        };
        let (database, replica) = rig.fresh(&setup).await?;
        for tenant in &tenants {
            entities::load(replica.api(), tenant, ENTITIES)?;
        }
        for Month { name, from, to } in Months::before_this_one(rig.args.months)?.0 {
            let sql = format!(
                "select mim.add_history('{name}', mim.first_instance('{from}'), mim.first_instance('{to}'))"
            );
            rig.server.psql(&database.name, &sql)?;
            // The broker drops what is over as the role that it is.
            let owner = format!("alter table mim.{name} owner to {}", database.name);
            rig.server.psql(&database.name, &owner)?;
            rig.server.psql(&database.name, &past(&from))?;
        }
        rig.server.psql(
            &database.name,
            "update mim.entities set created = now() - interval '10 years'",
        )?;
        rig.server.settle(&database)?;
        Ok(Self {
            database,
            replicas: [replica],
            tenants,
        })
    }

    /// Reads of all tenants by chance.
    fn read(&self, rig: &Rig<'_>, is_past: bool, rate: Option<f64>) -> Result<super::duel::Measure, Error> {
        let at: Vec<_> = self.replicas.iter().map(Replica::api).collect();
        let work = |random: &mut Random, out: &mut Vec<u8>| {
            let number = usize::try_from(random.below(self.tenants.len() as u64)).unwrap_or_default();
            let tenant = self.tenants.get(number).map_or("", |tenant| tenant);
            if is_past {
                past_of(random, out, tenant);
            } else {
                retrieval(random, out, tenant, ENTITIES);
            }
        };
        let work: &Work<'_> = &work;
        let load = Load {
            at: &at,
            clients: rig.args.connections,
            seconds: rig.args.seconds,
            rate,
            may_refuse: false,
        };
        measured(&rig.server, &self.replicas, || load::run(&load, work))
    }

    /// The most private memory, in MiB, of the broker's sessions, and how many there are.
    fn private(&self, rig: &Rig<'_>) -> Result<(f64, usize), Error> {
        let sessions = rig.server.backends(&self.database)?;
        let mut most = 0.0_f64;
        for pid in &sessions {
            let path = PathBuf::from(format!("/proc/{pid}/smaps_rollup"));
            let text = fs::read_to_string(&path).map_err(Error::file(&path))?;
            most = most.max(private_in(&text));
        }
        Ok((most, sessions.len()))
    }
}

/// Asks for what an attribute was in the last years.
fn past_of(random: &mut Random, out: &mut Vec<u8>, tenant: &str) {
    let target = format!(
        "/ngsi-ld/v1/temporal/entities/{}?attrs=temperature&lastN=10&timerel=after&timeAt=2000-01-01T00:00:00Z&timeproperty=createdAt",
        id(random.below(ENTITIES as u64))
    );
    write_request(out, "GET", &target, tenant, b"");
}

/// `Private_Clean` and `Private_Dirty` of proc_pid_smaps(5), in MiB.
pub fn private_in(smaps: &str) -> f64 {
    let kibibytes = |line: &str| -> Option<f64> {
        let rest = line.strip_prefix("Private_")?.split_once(':')?.1;
        rest.trim().strip_suffix(" kB")?.parse().ok()
    };
    smaps.lines().filter_map(kibibytes).sum::<f64>() / 1024.0
}

/// A month of the past.
pub struct Month {
    /// Its partition, named as the broker would name it.
    pub name: String,
    /// Its beginning.
    pub from: Timestamp,
    /// Its end.
    pub to: Timestamp,
}

/// Months that follow each other.
pub struct Months(pub Vec<Month>);

impl Months {
    /// With this one so many.
    pub fn before_this_one(number: i32) -> Result<Self, Error> {
        let this = Timestamp::now().to_zoned(TimeZone::UTC).date().first_of_month();
        let start = |ago: i32| {
            let day = this.checked_sub(ago.months())?;
            Ok::<_, jiff::Error>((day, day.to_zoned(TimeZone::UTC)?.timestamp()))
        };
        let month = |ago| {
            let ((day, from), (_, to)) = (start(ago)?, start(ago - 1)?);
            let name = format!("history_{:04}_{:02}", day.year(), day.month());
            Ok(Month { name, from, to })
        };
        let months: Result<_, jiff::Error> = (1..number.max(1)).rev().map(month).collect();
        months
            .map(Self)
            .map_err(|problem| Error::Unexpected(format!("the months before this one: {problem}")))
    }
}

/// Writes a past: what every entity is now it was in the first hour of that month too.
fn past(from: &Timestamp) -> String {
    format!(
        "insert into mim.history (tenant, entity, attr, instance, recorded, dataset, observed, body) \
         select h.tenant, h.entity, h.attr, mim.first_instance('{from}'::timestamptz + n * interval '1 minute'), \
           '{from}'::timestamptz + n * interval '1 minute', h.dataset, '{from}'::timestamptz + n * interval '1 minute', h.body \
         from mim.history h cross join generate_series(1, 2) n \
         where h.recorded > now() - interval '1 day' and h.attr like '%temperature'"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_are_named_as_the_broker_names_partitions() {
        let Months(months) = Months::before_this_one(13).unwrap();
        assert_eq!(months.len(), 12);
        assert!(
            months
                .iter()
                .all(|month| month.name.len() == 15 && month.from < month.to)
        );
        assert!(months.windows(2).all(|pair| pair[0].to == pair[1].from));
    }

    #[test]
    fn private_memory_is_what_is_clean_and_what_is_dirty() {
        let text =
            "Rss: 5000 kB\nPrivate_Clean:      1024 kB\nPrivate_Dirty:      2048 kB\nPrivate_Hugetlb: 0 kB\n";
        assert!((private_in(text) - 3.0).abs() < 1e-9);
    }
}
