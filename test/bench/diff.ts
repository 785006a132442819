/**
 * Comparing replicas: speed of the hashes in rows per CPU second of the server, bytes of sketches and of whole comparisons, rows
 * fetched; against pt-table-sync on the same MariaDB tables through the same counting proxies, and against two parallel digest scans.
 */
import { mariadbAvailable } from '../servers/mariadb.ts';
import { startPostgres } from '../servers/postgres.ts';
import type { Bench, BenchOptions } from './bench.ts';
import { againstPercona } from './replicas/against-percona.ts';
import { corpusAgainstPeers } from './replicas/corpus-peers.ts';
import { decodeSuccess } from './replicas/decode-success.ts';
import { hashSpeeds } from './replicas/hash-speeds.ts';
import type { Measured } from './replicas/measured.ts';
import { peakMemory } from './replicas/peak-memory.ts';
import { openPair, type PostgresPair } from './replicas/postgres-pair.ts';
import { sketchBytes } from './replicas/sketch-bytes.ts';

const DIFFERENCES = [10, 100, 1_000];
const parts = ['speeds', ...DIFFERENCES.map((each) => `bytes-${each}`), 'memory', 'decode', 'mariadb', 'corpus'];

export const bench: Bench = {
  name: 'diff',
  says: 'comparing two replicas: rows a CPU second, bytes a difference, rows fetched; against pt-table-sync and plain digest scans',
  parts,
  run: async (options) => {
    const { quick, log, only } = options;
    const measured: Measured = { figures: {}, baseline: {} };
    const isWanted = (part: string): boolean => only === undefined || only.includes(part);
    if (['speeds', ...DIFFERENCES.map((each) => `bytes-${each}`)].some(isWanted)) {
      const signal = AbortSignal.timeout(quick ? 120_000 : 3_600_000);
      const rows = quick ? 600_000 : 5_000_000;
      log(`two PostgreSQL servers with ${rows} rows each`);
      const pair = await openPair(rows, signal);
      try {
        await onPostgres(pair, isWanted, options, measured, signal);
        // With the servers that there are, where that is soon over.
        if (quick && isWanted('memory')) await memory(pair.urls, 30_000, measured, log);
      } finally {
        await pair.close();
      }
    }
    if (isWanted('memory') && measured.figures['rss_differences'] === undefined) await alone(quick ? 30_000 : 10_000_000, measured, log);
    if (isWanted('decode')) Object.assign(measured.figures, decodeSuccess(quick, log));
    if (mariadbAvailable && isWanted('mariadb')) await againstPercona(quick ? 100_000 : 1_000_000, measured, log);
    if (mariadbAvailable && (only?.includes('corpus') ?? !quick)) {
      const corpus = await corpusAgainstPeers(log);
      Object.assign(measured.figures, corpus.figures);
      Object.assign(measured.baseline, corpus.baseline);
    }
    return measured;
  },
};

async function onPostgres(
  pair: PostgresPair,
  isWanted: (part: string) => boolean,
  { quick, log }: BenchOptions,
  measured: Measured,
  signal: AbortSignal,
): Promise<void> {
  if (isWanted('speeds')) {
    log('hash speeds');
    await hashSpeeds(pair, measured, signal);
  }
  for (const differences of DIFFERENCES)
    if (isWanted(`bytes-${differences}`)) await sketchBytes(pair, differences, quick ? 3 : 20, measured, log, signal);
}

async function alone(rows: number, measured: Measured, log: (line: string) => void): Promise<void> {
  const servers = await Promise.all([startPostgres(), startPostgres()]);
  try {
    await memory(
      servers.map((server) => server.url),
      rows,
      measured,
      log,
    );
  } finally {
    await Promise.all(servers.map((one) => one.close()));
  }
}

async function memory(urls: readonly string[], rows: number, { figures }: Measured, log: (line: string) => void): Promise<void> {
  const used = await peakMemory(urls, rows, log);
  if (used.keys !== rows) throw new Error(`homeostat diff printed ${used.keys} of ${rows} keys`);
  figures['rss_differences'] = rows;
  if (used.rssMb !== undefined) figures['rss_mb'] = used.rssMb;
  figures['differing_rows_per_s'] = Math.round(rows / used.seconds);
  log(`homeostat diff: ${rows} differing rows in ${used.seconds.toFixed(0)} s, at most ${used.rssMb ?? '?'} MB`);
}
