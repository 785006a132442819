/** How busy a MySQL or MariaDB server is, and how far it is behind what it follows. */
import type { Pressure } from '../replica.ts';
import type { Session } from './session.ts';

/**
 * `Seconds_Behind_Master`, the largest of all sources, less `SQL_Delay`. Asking takes a privilege (SLAVE MONITOR, REPLICATION CLIENT)
 * that a reader of tables need not have: without it only the load counts.
 */
export async function readPressure(session: Session): Promise<Pressure> {
  const [running] = await session.query(`SHOW GLOBAL STATUS LIKE 'Threads_running'`);
  const statements = Math.max(0, Number(running?.['Value'] ?? 1) - 1);
  const [version] = await session.query('SELECT version() AS v');
  const isMariadb = String(version?.['v']).includes('MariaDB');
  const sources = await session.query(isMariadb ? 'SHOW ALL SLAVES STATUS' : 'SHOW REPLICA STATUS').catch(() => []);
  const lags = sources.flatMap((source) => {
    const behind = source['Seconds_Behind_Master'] ?? source['Seconds_Behind_Source'];
    // NULL: the thread that applies has stopped, and waiting for it would be in vain.
    return behind === null || behind === undefined ? [] : [Math.max(0, Number(behind) - Number(source['SQL_Delay'] ?? 0)) * 1_000];
  });
  return { statements, lagMs: lags.length === 0 ? undefined : Math.max(...lags) };
}
