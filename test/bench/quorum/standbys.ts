import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { createRng, type Rng } from '../../../src/base/rng.ts';
import { openPostgresQuorum } from '../../../src/io/targets/postgres-quorum.ts';
import { startReplication } from '../../servers/postgres-standbys.ts';
import { type Alarm, openAlarm } from './alarm.ts';
import type { StandbyLags } from '../../../src/forecast/suggester.ts';
import { type Judged, judge, type RealSetting, type StandbyRecord } from './judge.ts';

/**
 * Stale reads counted on a real replication set: a PostgreSQL primary and two streaming standbys on loopback, one of which shows what it
 * received some milliseconds later. In turn each number of standbys that commits wait for is put in force, and is met with the same
 * traffic: writes, each followed by a read of both standbys. Some of these reads come as a setting says, by lot, and are counted; the
 * others are the record. What is counted in one turn is told beforehand, from the record of the turn before and from those of other
 * numbers: nothing is told of what was seen, record and count have the same load, and what slows the machine down slows both.
 *
 * Reads of the record come at once, at any time until the next write, or about when a standby was seen to begin to show what was written
 * in the turn before. Not by what the last read saw: whoever goes up where an answer was stale and down where it was fresh (Dixon and
 * Mood 1948) is elsewhere while a slow moment lasts, and tells too little of it. Reads are taken as having come when they were due: how
 * late a busy machine is with them goes with how late its standbys are, and by the time at which they came the late ones of a busy moment
 * would be held against those of a quiet one.
 */
export interface RealOptions {
  readonly settings: readonly RealSetting[];
  /** A setting is counted until the standard error of its count is as small, points, or so many turns are over. */
  readonly errorPoints: number;
  /** And in so many turns at least: fewer say nothing of the error of a count that has not changed yet. */
  readonly leastTurns: number;
  readonly turns: number;
  /** Share of the record's reads that come about when a standby begins to show: wanted where those of a setting do. */
  readonly aboutShare: number;
  /** Writes of each lane in a turn, for each number of standbys. */
  readonly writes: number;
}

/** The record is the larger part: few of its reads come when those of a setting do. */
const recordShare = 2 / 3;
const atOnceShare = 1 / 3;
/** How far reads come from when a standby began to show. */
const aboutMs = 1.5;
const slowByMs = 25;
/** Registers written and read side by side. */
const laneCount = 8;
/** A lane writes no sooner again, whenever it reads: all settings and all records have the same load. */
const paceMs = 34;
const lagsEveryMs = 25;
const names = ['near', 'late'] as const;

type Looks = StandbyRecord['looks'];

/** When the reads of the next write are due, and for which setting. */
interface Due {
  readonly afterMs: number;
  readonly setting?: RealSetting;
}

export async function countOnStandbys({
  settings,
  errorPoints,
  leastTurns,
  turns,
  aboutShare,
  writes,
}: RealOptions): Promise<readonly Judged[]> {
  const rng = createRng('standbys');
  const estate = await startReplication([...names]);
  const clients: pg.Client[] = [];
  const alarms: Alarm[] = [];
  const open = async (url: string): Promise<pg.Client> => {
    const client = new pg.Client({ connectionString: url });
    clients.push(client);
    await client.connect();
    return client;
  };
  const target = openPostgresQuorum({ name: 'primary', url: estate.url, commitP99Ms: null, observeMs: 0 });
  try {
    const admin = await open(estate.url);
    await admin.query('create table register (id int primary key, version int not null)');
    await estate.slowDown('late', slowByMs);
    const lanes: Lane[] = [];
    for (let id = 1; id <= laneCount; id += 1) {
      await admin.query('insert into register values ($1, 0)', [id]);
      const standbys: pg.Client[] = [];
      for (const name of names) standbys.push(await open(estate.standbys[name] ?? ''));
      const alarm = openAlarm();
      alarms.push(alarm);
      lanes.push(openLane(id, await open(estate.url), standbys, alarm));
    }
    /** Lags as the product samples them, beside some work, which may ask for the number of the latest moment. */
    const withLags = async (work: (momentNow: () => number) => Promise<void>): Promise<readonly StandbyLags[]> => {
      const lags = names.map((standby) => ({ standby, writeMs: [] as number[], flushMs: [] as number[], replayMs: [] as number[] }));
      let isOver = false;
      const sampling = (async () => {
        while (!isOver) {
          const moment = await target.standbyLags(AbortSignal.timeout(5_000));
          for (const { standby, writeMs, flushMs, replayMs } of moment?.lags ?? []) {
            const lists = lags.find((one) => one.standby === standby);
            lists?.writeMs.push(writeMs);
            lists?.flushMs.push(flushMs);
            lists?.replayMs.push(replayMs);
          }
          await delay(lagsEveryMs);
        }
      })();
      await work(() => Math.max(0, (lags[0]?.replayMs.length ?? 0) - 1));
      isOver = true;
      await sampling;
      return lags;
    };
    const setQuorum = async (waitsFor: number): Promise<void> => {
      const value = waitsFor === 0 ? '' : `ANY ${waitsFor} (${names.join(', ')})`;
      await admin.query(`alter system set synchronous_standby_names = '${value}'`);
      await admin.query('select pg_reload_conf()');
      for (const one of [admin, ...lanes.map(({ primary }) => primary)])
        while (
          (await one.query<{ value: string }>(`select current_setting('synchronous_standby_names') as value`)).rows[0]?.value !== value
        );
    };
    const judged = judge(settings, errorPoints, leastTurns, rng.fork('judge'));
    const records = new Map<number, Looks>(settings.map(({ waitsFor }) => [waitsFor, []]));
    for (let turn = 0; turn < turns && judged.unsure().length > 0; turn += 1) {
      for (const [waitsFor, before] of records) {
        const unsure = judged.unsure().filter((one) => one.waitsFor === waitsFor);
        // A record is made as long as a setting is predicted from it.
        if (judged.unsure().every((one) => one.waitsFor < waitsFor)) continue;
        await setQuorum(waitsFor);
        for (const setting of unsure) judged.predict(setting);
        const beginMs = names.map((_, standby) => beginsAt(before.filter((look) => look.standby === standby)));
        const looks: { readonly setting: RealSetting | undefined; readonly look: Looks[number] }[] = [];
        const lags = await withLags(async (momentNow) => {
          await Promise.all(
            lanes.map(async (lane) => {
              for (let i = 0; i < writes; i += 1) {
                const startedMs = performance.now();
                const moment = momentNow();
                const due =
                  unsure.length === 0 || rng.next() < recordShare ? dueForRecord(beginMs, aboutShare, rng) : dueOf(rng.pick(unsure), rng);
                const made = await lane.writeAndLook(due.afterMs);
                for (const look of made) looks.push({ setting: due.setting, look: { ...look, moment } });
                const leftMs = startedMs + paceMs * (0.8 + 0.4 * rng.next()) - performance.now();
                if (leftMs > 0) await delay(leftMs);
              }
            }),
          );
        });
        const looksOf = (setting: RealSetting | undefined): Looks => looks.filter((one) => one.setting === setting).map(({ look }) => look);
        for (const setting of unsure) judged.count(setting, looksOf(setting));
        records.set(waitsFor, looksOf(undefined));
        judged.record(waitsFor, { looks: looksOf(undefined), lags });
      }
    }
    return judged.results();
  } finally {
    await target.close();
    for (const alarm of alarms) await alarm.close();
    for (const client of clients) await client.end().catch(() => undefined);
    await estate.close();
  }
}

/** At once, or within the millisecond after so many. */
const dueOf = (setting: RealSetting, rng: Rng): Due => ({
  afterMs: setting.afterMs === 0 ? 0 : setting.afterMs + rng.next(),
  setting,
});

function dueForRecord(beginMs: readonly number[], aboutShare: number, rng: Rng): Due {
  const lot = rng.next();
  if (lot < atOnceShare) return { afterMs: 0 };
  const later = beginMs.filter((ms) => ms > 0);
  if (lot < 1 - aboutShare || later.length === 0) return { afterMs: paceMs * rng.next() };
  return { afterMs: Math.max(0, rng.pick(later) + aboutMs * (2 * rng.next() - 1)) };
}

/** The time that parts stale answers from fresh ones with the fewest mistakes; 0: fresh at once, or nothing is known. */
function beginsAt(looks: Looks): number {
  let mistakes = looks.filter(({ isFresh }) => !isFresh).length;
  let fewest = mistakes;
  let at = 0;
  for (const { afterMs, isFresh } of looks.toSorted((a, b) => a.afterMs - b.afterMs)) {
    mistakes += isFresh ? 1 : -1;
    if (mistakes < fewest) [fewest, at] = [mistakes, afterMs];
  }
  return at;
}

/** One register with a writer and a reader at each standby. */
interface Lane {
  readonly primary: pg.Client;
  /** Writes, and reads from both standbys so long after the commit returned. */
  writeAndLook(waitMs: number): Promise<Looks>;
}

function openLane(id: number, primary: pg.Client, standbys: readonly pg.Client[], alarm: Alarm): Lane {
  let version = 0;
  const look = async (standby: pg.Client): Promise<number> => {
    const { rows } = await standby.query<{ version: number }>({
      name: 'read',
      text: 'select version from register where id = $1',
      values: [id],
    });
    return rows[0]?.version ?? -1;
  };
  return {
    primary,
    writeAndLook: async (waitMs) => {
      version += 1;
      await primary.query({ name: 'write', text: 'update register set version = $1 where id = $2', values: [version, id] });
      if (waitMs > 0) await alarm.after(waitMs);
      return Promise.all(
        standbys.map(async (one, standby) => {
          const askedMs = performance.now();
          const seen = await look(one);
          return {
            standby,
            moment: 0,
            afterMs: waitMs,
            tookMs: performance.now() - askedMs,
            isFresh: seen >= version,
          };
        }),
      );
    },
  };
}
