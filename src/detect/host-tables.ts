/** Something that is counted. */
export interface Counter {
  count: number;
}

/** How often each host was seen to do something with each table; asked for with every statement, so without making a key of the two. */
export class HostTables {
  readonly #hosts = new Map<string, Map<string, Counter>>();
  readonly #most: number;
  #size = 0;

  /** At most `most` pairs: tables and hosts are bounded by the fleet, and beyond it nothing new is counted. */
  constructor(most: number) {
    this.#most = most;
  }

  count(host: string, table: string, times: number): void {
    const counter = this.counter(host, table);
    if (counter !== undefined) counter.count += times;
  }

  /** What counts the pair, to be counted at once; undefined where there are too many, now and later. */
  counter(host: string, table: string): Counter | undefined {
    const known = this.#hosts.get(host)?.get(table);
    if (known !== undefined || this.#size >= this.#most) return known;
    this.#size += 1;
    const counter: Counter = { count: 0 };
    const tables = this.#hosts.get(host) ?? new Map<string, Counter>();
    tables.set(table, counter);
    this.#hosts.set(host, tables);
    return counter;
  }

  has(host: string, table: string): boolean {
    return this.#hosts.get(host)?.has(table) === true;
  }

  /** Whether any host was seen with the table. */
  hasTable(table: string): boolean {
    for (const tables of this.#hosts.values()) if (tables.has(table)) return true;
    return false;
  }

  *entries(): Generator<{ readonly host: string; readonly table: string; readonly count: number }> {
    for (const [host, tables] of this.#hosts) for (const [table, { count }] of tables) yield { host, table, count };
  }
}
