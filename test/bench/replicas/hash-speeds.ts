/** Rows that a server hashes in a second of processor time. */
import type { Shape } from '../../../src/domain/row.ts';
import { everyKey } from '../../../src/domain/key-range.ts';
import type { Sketching } from '../../../src/io/replicas/replica.ts';
import { commonSlicing } from '../../../src/runtime/compare-sketch.ts';
import { serverCpuSeconds } from './accounts.ts';
import { median, type Measured } from './measured.ts';
import { digestScan, type PostgresPair } from './postgres-pair.ts';

export async function hashSpeeds(pair: PostgresPair, { figures, baseline }: Measured, signal: AbortSignal): Promise<void> {
  const { shape, rows, connections } = pair;
  const [connection] = connections;
  const [client] = pair.clients;
  if (connection?.sketching === undefined) throw new Error('a PostgreSQL replica');
  const { sketching } = connection;
  const perCpuSecond = async (work: () => Promise<unknown>): Promise<number> => {
    const measured: number[] = [];
    for (let n = 0; n < 3; n += 1) {
      const before = await serverCpuSeconds(client);
      await work();
      measured.push(rows / ((await serverCpuSeconds(client)) - before));
    }
    return Math.round(median(measured));
  };
  const scan = await digestScan(pair);
  figures['native_rows_per_s'] = await perCpuSecond(() => client.query(scan));
  figures['native_summary_rows_per_s'] = await perCpuSecond(() => scanOnce(sketching, shape, signal));
  figures['canonical_rows_per_s'] = await perCpuSecond(() => connection.digest(shape, [everyKey], signal));
  baseline['hash_record_rows_per_s'] = await perCpuSecond(() =>
    client.query('SELECT sum(hash_record_extended(t, 1)), sum(hash_record_extended(t, 2)) FROM accounts t'),
  );
}

async function scanOnce(sketching: Sketching, shape: Shape, signal: AbortSignal): Promise<void> {
  const slicing = await commonSlicing(shape, [sketching], everyKey, signal);
  await (await sketching.scan(shape, everyKey, 'native', slicing, signal)).close();
}
