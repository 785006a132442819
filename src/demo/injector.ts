import { setTimeout as delay } from 'node:timers/promises';
import type { Rng } from '../base/rng.ts';
import { codeFaults, type Injection } from './code-faults.ts';
import type { Shop } from './estate.ts';
import type { Fault, FaultLog } from './fault-log.ts';
import { type Chaos, otherRegions, type Region, regions } from './regions.ts';
import { sendRequest, type ShopReply } from './shop-http.ts';
import { homeOf, quietEvery, seededAccounts, seededProfiles } from './tables.ts';
import type { Numbers } from './traffic.ts';

export interface Injector {
  /** One of each way, in an order that the seed decides: what `--until-converged` injects, `rounds` times over. */
  plan(rounds: number): readonly string[];
  /** Injects one fault and logs it. The name is one of the plan's. */
  inject(name: string): Promise<Fault>;
}

/** Longer than an ordinary delay, shorter than the domain's staleness budget: late, but no divergence. */
const lateMs = { least: 2_000, most: 4_000 };
/** What a careless client needs to make up its mind. */
const thinkMs = 400;
const staleHoldMs = 2_500;

export function createInjector(options: {
  readonly shop: Shop;
  readonly numbers: Numbers;
  readonly rng: Rng;
  readonly log: FaultLog;
  readonly run: string;
  /** Ids of the service's trace detectors. */
  readonly detectors: readonly string[];
  readonly nowIso: () => string;
}): Injector {
  const { shop, numbers, rng, log } = options;
  const { accounts, profiles, orders } = shop.addresses;
  const quietProfile = quietRows(seededProfiles, rng.fork('profiles'), log.faults, 'profiles');
  const quietAccount = quietRows(seededAccounts, rng.fork('accounts'), log.faults, 'accounts');
  const cities = ['Nairobi', 'Lima', 'Hanoi', 'Gdansk', 'Cork', 'Perth', 'Malmo', 'Izmir'];

  const chaosOf = (chaos: Chaos): Record<string, string> => ({ 'x-chaos': JSON.stringify(chaos) });
  const tracesOf = (...replies: readonly ShopReply[]): readonly string[] =>
    replies.flatMap((reply) => (reply.traceId === undefined ? [] : [reply.traceId]));
  const done = (reply: ShopReply, what: string): ShopReply => {
    if (reply.status >= 300) throw new Error(`${what}: the shop answered ${reply.status} ${JSON.stringify(reply.body)}`);
    return reply;
  };
  const setCity = async (id: number, city: string, chaos: Chaos, session?: string): Promise<ShopReply> =>
    done(
      await sendRequest(
        'PATCH',
        `${profiles}/profiles/${id}`,
        { city },
        { ...chaosOf(chaos), ...(session === undefined ? {} : { 'x-session': session }) },
      ),
      'set the city',
    );
  const profileRow = (reply: ShopReply): Readonly<Record<string, string>> => ({
    city: String(reply.body['city']),
    version: String(reply.body['version']),
  });
  /** One or both of the regions that should hear of a write made in `home`. */
  const someOthers = (home: Region): readonly Region[] => (rng.next() < 0.75 ? [rng.pick(otherRegions(home))] : otherRegions(home));

  const ways: Readonly<Record<string, Injection>> = {
    ...codeFaults({ addresses: shop.addresses, numbers, rng: rng.fork('code'), run: options.run, quietProfile }),
    async 'dropped-update'() {
      const id = quietProfile();
      const lose = someOthers(homeOf(id));
      const reply = await setCity(id, rng.pick(cities), { lose });
      return {
        kind: 'dropped-change',
        collection: 'profiles',
        keys: [String(id)],
        regions: lose,
        traces: tracesOf(reply),
        what: `the change of profile ${id} did not reach ${lose.join(' and ')}: an old row stays there`,
        rows: { [id]: profileRow(reply) },
      };
    },
    async 'dropped-insert'() {
      const id = numbers.nextProfile();
      const lose = someOthers(homeOf(id));
      const body = { id, name: `Customer ${id}`, email: `customer${id}@example.com`, city: rng.pick(cities) };
      const reply = done(await sendRequest('POST', `${profiles}/profiles`, body, chaosOf({ lose })), 'create a profile');
      return {
        kind: 'dropped-change',
        collection: 'profiles',
        keys: [String(id)],
        regions: lose,
        traces: tracesOf(reply),
        what: `the new profile ${id} did not reach ${lose.join(' and ')}: the row is missing there`,
        rows: { [id]: profileRow(reply) },
      };
    },
    async 'dropped-transfer'() {
      const from = quietAccount();
      const to = quietAccount();
      const lose: readonly Region[] = [rng.pick(['us', 'ap'] as const)];
      const body = { from, to, amount: 5 + rng.int(60), idempotencyKey: `f-${options.run}-${numbers.nextOrder()}` };
      const reply = done(await sendRequest('POST', `${accounts}/transfers`, body, chaosOf({ lose })), 'transfer');
      const rows: Record<string, Readonly<Record<string, string>>> = {};
      for (const id of [from, to]) {
        const row = await sendRequest('GET', `${accounts}/accounts/${id}?region=eu`);
        rows[id] = { balance: String(row.body['balance']), version: String(row.body['version']) };
      }
      return {
        kind: 'dropped-change',
        collection: 'accounts',
        keys: [String(from), String(to)],
        regions: lose,
        traces: tracesOf(reply),
        what: `a transfer between accounts ${from} and ${to} did not reach ${lose.join(' and ')}: two old balances stay there`,
        rows,
      };
    },
    async 'dropped-order'() {
      const id = `F-${rng.pick(regions)}-${numbers.nextOrder()}`;
      const home = regions.find((region) => id.includes(`-${region}-`)) ?? 'eu';
      const lose = [rng.pick(otherRegions(home))];
      const body = { id, profileId: 1 + quietEvery * rng.int(300), accountId: 2, total: 1 + rng.int(5) };
      const reply = done(await sendRequest('POST', `${orders}/orders`, body, chaosOf({ lose })), 'order');
      return {
        kind: 'dropped-change',
        collection: 'orders',
        keys: [id],
        regions: lose,
        traces: tracesOf(reply),
        what: `order ${id} did not reach ${lose.join(' and ')}: the row is missing there`,
        rows: { [id]: { status: 'placed', version: '1' } },
      };
    },
    async 'late-change'() {
      const id = quietProfile();
      const holdMs = lateMs.least + rng.int(lateMs.most - lateMs.least);
      const reply = await setCity(id, rng.pick(cities), { holdMs });
      return {
        kind: 'late-change',
        collection: 'profiles',
        keys: [String(id)],
        regions: otherRegions(homeOf(id)),
        traces: tracesOf(reply),
        what: `the change of profile ${id} is ${holdMs} ms late: no divergence`,
        rows: { [id]: profileRow(reply) },
      };
    },
    async 'dual-write'() {
      const id = `G-${rng.pick(regions)}-${numbers.nextOrder()}`;
      const body = { id, profileId: 1, accountId: 1, total: 25 };
      const reply = done(await sendRequest('POST', `${orders}/giftcards`, body, chaosOf({ loseMessage: true })), 'issue a gift card');
      return {
        kind: 'dual-write',
        collection: 'orders',
        keys: [id],
        regions: [],
        traces: tracesOf(reply),
        what: `gift card ${id} was recorded, its message was lost`,
        rows: {},
      };
    },
    async 'lost-update'() {
      const id = quietProfile();
      const [first, second] = await Promise.all([
        setCity(id, rng.pick(cities), { blindMs: thinkMs }),
        setCity(id, rng.pick(cities), { blindMs: thinkMs }),
      ]);
      const last = Number(first.body['version']) > Number(second.body['version']) ? first : second;
      return {
        kind: 'lost-update',
        collection: 'profiles',
        keys: [String(id)],
        regions: [homeOf(id)],
        traces: tracesOf(first, second),
        what: `two clients wrote profile ${id} from the same version: one city is lost`,
        rows: { [id]: profileRow(last) },
      };
    },
    async 'stale-read'() {
      const [from, to] = [quietAccount(), quietAccount()];
      const elsewhere = rng.pick(['us', 'ap'] as const);
      const body = { from, to, amount: 5 + rng.int(60), idempotencyKey: `f-${options.run}-${numbers.nextOrder()}` };
      const written = done(await sendRequest('POST', `${accounts}/transfers`, body, chaosOf({ holdMs: staleHoldMs })), 'transfer');
      await delay(staleHoldMs / 4);
      const read = done(await sendRequest('GET', `${accounts}/accounts/${from}?region=${elsewhere}`), 'read the balance');
      const now = done(await sendRequest('GET', `${accounts}/accounts/${from}`), 'read the balance');
      if (Number(read.body['version']) >= Number(now.body['version'])) throw new Error(`account ${from} was not stale in ${elsewhere}`);
      return {
        kind: 'stale-read',
        collection: 'accounts',
        keys: [String(from)],
        regions: [elsewhere],
        traces: tracesOf(written, read),
        what: `after a transfer somebody read the old balance of account ${from} in ${elsewhere}`,
        rows: { [from]: { balance: String(now.body['balance']), version: String(now.body['version']) } },
      };
    },
    async 'read-your-writes'() {
      const id = quietProfile();
      const session = `visit-${options.run}-${id}`;
      const elsewhere = rng.pick(otherRegions(homeOf(id)));
      const written = await setCity(id, rng.pick(cities), { holdMs: staleHoldMs }, session);
      await delay(staleHoldMs / 4);
      const read = done(
        await sendRequest('GET', `${profiles}/profiles/${id}?region=${elsewhere}`, undefined, { 'x-session': session }),
        'read the profile',
      );
      if (Number(read.body['version']) >= Number(written.body['version'])) throw new Error(`profile ${id} was not stale in ${elsewhere}`);
      return {
        kind: 'read-your-writes',
        collection: 'profiles',
        keys: [String(id)],
        regions: [elsewhere],
        traces: tracesOf(written, read),
        what: `a customer changed profile ${id} and did not see the change in ${elsewhere}`,
        rows: { [id]: profileRow(written) },
      };
    },
    async 'non-monotonic-read'() {
      const id = quietProfile();
      const session = `look-${options.run}-${id}`;
      const elsewhere = rng.pick(otherRegions(homeOf(id)));
      const written = await setCity(id, rng.pick(cities), { holdMs: staleHoldMs });
      const look = async (region: Region): Promise<ShopReply> =>
        done(
          await sendRequest('GET', `${profiles}/profiles/${id}?region=${region}`, undefined, { 'x-session': session }),
          'read the profile',
        );
      const first = await look(homeOf(id));
      await delay(staleHoldMs / 4);
      const second = await look(elsewhere);
      if (Number(second.body['version']) >= Number(first.body['version'])) throw new Error(`profile ${id} was not older in ${elsewhere}`);
      return {
        kind: 'non-monotonic-read',
        collection: 'profiles',
        keys: [String(id)],
        regions: [elsewhere],
        traces: tracesOf(written, first, second),
        what: `a customer saw profile ${id} go back in time when ${elsewhere} answered`,
        rows: { [id]: profileRow(written) },
      };
    },
    async 'version-fork'() {
      const id = quietProfile();
      const home = homeOf(id);
      const apart = rng.pick(otherRegions(home));
      // Held, so that neither side hears of the other before both have written.
      const first = await setCity(id, 'Kyoto', { holdMs: 1_000 });
      const second = await setCity(id, 'Dakar', { holdMs: 1_000, at: apart });
      if (first.body['version'] !== second.body['version']) throw new Error(`profile ${id} was not forked`);
      return {
        kind: 'version-fork',
        collection: 'profiles',
        keys: [String(id)],
        regions: [home, apart],
        traces: tracesOf(first, second),
        what: `profile ${id} was written in ${home} and, during a split, in ${apart}: one version, two contents`,
        // Either may win; what counts is that all regions say the same in the end.
        rows: {},
      };
    },
    async 'duplicate-consume'() {
      const id = `G-${rng.pick(regions)}-${numbers.nextOrder()}`;
      const body = { id, profileId: 1, accountId: 1, total: 25 };
      const reply = done(await sendRequest('POST', `${orders}/giftcards`, body, chaosOf({ deliverTwice: true })), 'issue a gift card');
      const consumers = Array.isArray(reply.body['consumers']) ? reply.body['consumers'].map(String) : [];
      return {
        kind: 'duplicate-consume',
        collection: 'profiles',
        keys: [],
        regions: [],
        traces: [...tracesOf(reply), ...consumers],
        what: `the message of gift card ${id} was delivered twice and counted twice`,
        rows: {},
      };
    },
    async 'saga-uncompensated'() {
      const id = `F-${rng.pick(regions)}-${numbers.nextOrder()}`;
      const body = { id, profileId: 1, accountId: quietAccount(), total: 1 + rng.int(5), outOfStock: true };
      const reply = await sendRequest('POST', `${orders}/orders`, body, chaosOf({ keepMoney: true }));
      if (reply.status !== 409) throw new Error(`the order was answered ${reply.status}`);
      return {
        kind: 'saga-uncompensated',
        collection: 'orders',
        keys: [id],
        regions: [],
        traces: tracesOf(reply),
        what: `order ${id} failed after it was paid, and the money was kept`,
        rows: {},
      };
    },
    async 'write-contention'() {
      const [a, b] = [quietAccount(), quietAccount()];
      const move = (from: number, to: number): Promise<ShopReply> =>
        sendRequest(
          'POST',
          `${accounts}/transfers`,
          { from, to, amount: 1, idempotencyKey: `f-${options.run}-${numbers.nextOrder()}` },
          chaosOf({ lockPauseMs: 300 }),
        );
      const replies = await Promise.all([move(a, b), move(b, a)]);
      if (!replies.some((reply) => reply.status === 500)) throw new Error(`accounts ${a} and ${b} did not deadlock`);
      return {
        kind: 'write-contention',
        collection: 'accounts',
        keys: [String(a), String(b)],
        regions: ['eu'],
        traces: tracesOf(...replies),
        what: `two transfers between accounts ${a} and ${b} locked each other out`,
        rows: {},
      };
    },
  };

  /** What is only seen in traces is injected where the service says that it looks for it. */
  const isJudged = (name: string): boolean => name.startsWith('dropped-') || name === 'late-change' || options.detectors.includes(name);

  let injected = 0;
  return {
    plan(rounds) {
      const order: string[] = [];
      for (let round = 0; round < rounds; round += 1) {
        // Lost profile changes are the daily bread: more of them than of the rest.
        const names = [...Object.keys(ways), 'dropped-update', 'dropped-insert', 'late-change'].filter(isJudged);
        // What takes longest to show goes first.
        const slow = names.indexOf('outbox-lag');
        if (slow >= 0) order.push(...names.splice(slow, 1));
        while (names.length > 0) order.push(...names.splice(rng.int(names.length), 1));
      }
      return order;
    },
    async inject(name) {
      const way = ways[name];
      if (way === undefined) throw new RangeError(`no fault ${name}`);
      const at = options.nowIso();
      const fault: Fault = { id: `${options.run}/${(injected += 1)}`, run: options.run, at, ...(await way()) };
      log.append(fault);
      return fault;
    },
  };
}

/** Hands out seeded rows that traffic leaves alone, in shuffled order, those last that earlier faults have used. */
function quietRows(seeded: number, rng: Rng, earlier: readonly Fault[], collection: string): () => number {
  const all = Array.from({ length: Math.floor(seeded / quietEvery) }, (_, index) => (index + 1) * quietEvery);
  for (let i = all.length - 1; i > 0; i -= 1) {
    const j = rng.int(i + 1);
    [all[i], all[j]] = [all[j] ?? 0, all[i] ?? 0];
  }
  const used = new Map<number, number>();
  for (const [age, fault] of earlier.entries())
    if (fault.collection === collection) for (const key of fault.keys) used.set(Number(key), age);
  const order = all.toSorted((a, b) => (used.get(a) ?? -1) - (used.get(b) ?? -1));
  let next = 0;
  return () => {
    const row = order[next % order.length];
    next += 1;
    if (row === undefined) throw new RangeError('no quiet rows');
    return row;
  };
}
