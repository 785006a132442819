import mysql from 'mysql2/promise';
import pg from 'pg';
import type { Replica } from '../../../src/domain/collection.ts';
import { mariadbAvailable, startMariadb, type TestMariadb } from '../../servers/mariadb.ts';
import { startPostgres, type TestPostgres } from '../../servers/postgres.ts';
import type { CorpusRow } from './corpus.ts';

/** Real stores that hold rows of the corpus, a table each. */
export class CorpusStores {
  readonly postgres: TestPostgres;
  readonly mariadb: TestMariadb | undefined;
  readonly pg: pg.Client;
  readonly my: mysql.Connection | undefined;
  #tables = 0;

  private constructor(postgres: TestPostgres, client: pg.Client, mariadb: TestMariadb | undefined, my: mysql.Connection | undefined) {
    this.postgres = postgres;
    this.pg = client;
    this.mariadb = mariadb;
    this.my = my;
  }

  /** `setUp`: statements for PostgreSQL before any table. */
  static async start(setUp = ''): Promise<CorpusStores> {
    const postgres = await startPostgres();
    const client = new pg.Client({ connectionString: postgres.url });
    await client.connect();
    await client.query(setUp);
    const mariadb = mariadbAvailable ? await startMariadb() : undefined;
    const my = mariadb && (await mysql.createConnection({ uri: mariadb.url, multipleStatements: true, charset: 'utf8mb4' }));
    await my?.query("SET time_zone = '+00:00'");
    return new CorpusStores(postgres, client, mariadb, my);
  }

  async createTable(row: CorpusRow): Promise<Replica> {
    this.#tables += 1;
    const table = `t${this.#tables}`;
    const names = row.columns.map((_column, at) => `c${at}`);
    const create = `CREATE TABLE ${table} (id int PRIMARY KEY, ${row.columns.map(([type], at) => `c${at} ${type} NULL`).join(', ')})`;
    const insert = `INSERT INTO ${table} (id, ${names.join(', ')}) VALUES (1, ${row.columns.map(([, literal]) => literal).join(', ')})`;
    const isPostgres = row.engine === 'postgres';
    if (isPostgres) await this.pg.query(`${create}; ${insert}`);
    else await this.my?.query(`${create}; ${insert.replaceAll('\\', '\\\\')}`);
    const url = isPostgres ? this.postgres.url : (this.mariadb?.url ?? '');
    return { id: `r${this.#tables}`, engine: isPostgres ? 'postgres' : 'mysql', url, table, region: 'r', role: 'peer', columnNames: {} };
  }

  async close(): Promise<void> {
    await this.pg.end();
    await this.my?.end();
    await this.postgres.close();
    await this.mariadb?.close();
  }
}
