/** Bytes that find a number of differing keys, over seeds; and what a whole comparison costs in digest scans. */
import type pg from 'pg';
import type { Divergence } from '../../../src/domain/divergence.ts';
import { everyKey } from '../../../src/domain/key-range.ts';
import type { CompareSummary } from '../../../src/runtime/compare.ts';
import { sketchDifference } from '../../../src/runtime/compare-sketch.ts';
import { differ, serverCpuSeconds } from './accounts.ts';
import { median, type Measured } from './measured.ts';
import { compare, digestScan, moved, type PostgresPair } from './postgres-pair.ts';

export async function sketchBytes(
  pair: PostgresPair,
  differences: number,
  seeds: number,
  { figures, baseline }: Measured,
  log: (line: string) => void,
  signal: AbortSignal,
): Promise<void> {
  const { rows, clients, connections, shape } = pair;
  const [client, other] = clients;
  const scan = await digestScan(pair);
  // Bytes scatter with the seed, times do not.
  const timed = differences === 100 ? 3 : 1;
  const bytes: number[] = [];
  let last: { readonly found: readonly Divergence[]; readonly summary: CompareSummary } | undefined;
  const times: number[] = [];
  const scans: number[] = [];
  const cpu = { diffs: [] as number[], scans: [] as number[] };
  for (let seed = 1; seed <= seeds; seed += 1) {
    await other.query('BEGIN');
    for (const statement of differ(rows, differences, seed)) await other.query(statement);
    await other.query('COMMIT');
    const before = moved(connections);
    // All that is moved until the keys are known: spans, summaries, fingerprints of parts, tables.
    const keys = await sketchDifference(shape, connections, everyKey, 'native', signal, { rounds: 0 });
    bytes.push((moved(connections) - before) / differences);
    if (keys.is !== 'keys' || keys.keys.length !== differences)
      throw new Error(`sketches found ${keys.is === 'keys' ? keys.keys.length : keys.is} of ${differences} keys`);
    if (seed <= timed) {
      const scanned = await spent(clients, () => Promise.all(clients.map((one) => one.query(scan))));
      scans.push(scanned.ms);
      cpu.scans.push(scanned.slowerServerS);
      const compared = await spent(clients, async () => (last = await compare(connections, signal)));
      times.push(compared.ms);
      // What a machine with nothing else to do would take: the slower server, then us.
      cpu.diffs.push(compared.slowerServerS + compared.ownS);
    }
    await restore(client, other, rows, differences, seed);
  }
  figures[`sketch_bytes_per_diff_d${differences}`] = Math.round(median(bytes));
  const ratio = Number((median(cpu.diffs) / median(cpu.scans)).toFixed(2));
  figures[`vs_digest_scan_d${differences}`] = ratio;
  figures[`vs_digest_scan_wall_d${differences}`] = Number((Math.min(...times) / Math.min(...scans)).toFixed(2));
  baseline[`digest_scan_ms_d${differences}`] = Math.round(Math.min(...scans));
  if (differences === 100) figures['vs_digest_scan'] = ratio;
  if (last !== undefined) {
    const copies = last.found.reduce((sum, one) => sum + Object.values(one.replicas).filter((row) => row !== null).length, 0);
    if (last.found.length !== differences) throw new Error(`found ${last.found.length} of ${differences}`);
    figures['overfetch'] = Math.max(figures['overfetch'] ?? 0, Number((last.summary.rowsFetched / copies).toFixed(3)));
  }
  log(`${differences} differences: ${figures[`sketch_bytes_per_diff_d${differences}`]} B each, ${ratio} digest scans`);
}

/** Wall time, CPU of the server that took more, and our own. */
async function spent(
  clients: readonly pg.Client[],
  work: () => Promise<unknown>,
): Promise<{ readonly ms: number; readonly slowerServerS: number; readonly ownS: number }> {
  const before = await Promise.all(clients.map(serverCpuSeconds));
  const own = process.cpuUsage();
  const start = performance.now();
  await work();
  const ms = performance.now() - start;
  const { user, system } = process.cpuUsage(own);
  const after = await Promise.all(clients.map(serverCpuSeconds));
  return { ms, slowerServerS: Math.max(...after.map((seconds, at) => seconds - (before[at] ?? 0))), ownS: (user + system) / 1e6 };
}

/** Takes the differences back, row by row from the other side. */
async function restore(source: pg.Client, target: pg.Client, rows: number, differences: number, seed: number): Promise<void> {
  const ids = differ(rows, differences, seed).flatMap((statement) =>
    (/WHERE id IN \((.*)\)/.exec(statement)?.[1] ?? '').split(', ').filter((id) => id !== ''),
  );
  const { rows: originals } = await source.query<Record<string, unknown>>(
    `SELECT id::text, owner, region, balance::text, note, active, created, version FROM accounts WHERE id = ANY ($1::bigint[])`,
    [ids],
  );
  await target.query('DELETE FROM accounts WHERE id > $1 OR id = ANY ($2::bigint[])', [rows, ids]);
  await target.query('INSERT INTO accounts SELECT * FROM json_populate_recordset(NULL::accounts, $1)', [JSON.stringify(originals)]);
  const { rows: exact } = await source.query<{ created: string; id: string }>(
    `SELECT id::text, created::text FROM accounts WHERE id = ANY ($1::bigint[])`,
    [ids],
  );
  await target.query('UPDATE accounts a SET created = w.c::timestamptz FROM unnest($1::bigint[], $2::text[]) AS w(i, c) WHERE a.id = w.i', [
    exact.map((one) => one.id),
    exact.map((one) => one.created),
  ]);
}
