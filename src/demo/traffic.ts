import { setTimeout as delay } from 'node:timers/promises';
import type { Rng } from '../base/rng.ts';
import { regions } from './regions.ts';
import { sendRequest } from './shop-http.ts';
import type { Shop } from './estate.ts';
import { quietEvery, seededAccounts, seededProfiles } from './tables.ts';

export interface Numbers {
  nextProfile(): number;
  nextOrder(): number;
}

/** Hands out numbers that nobody has used. */
export function numbersFrom(highest: { readonly profile: number; readonly order: number }): Numbers {
  let { profile, order } = highest;
  return { nextProfile: () => (profile += 1), nextOrder: () => (order += 1) };
}

export interface Traffic {
  readonly counts: Readonly<Record<string, number>>;
  /** Lets what is under way finish, and stops. */
  close(): Promise<void>;
}

const cities = ['Berlin', 'Lisbon', 'Austin', 'Osaka', 'Pune', 'Oslo', 'Quito', 'Turin'];
/** Requests under way at once; a slow machine answers later, it is not buried. */
const mostAtOnce = 8;

/** Ordinary customers: open-loop requests at `perSecond`, none of which does anything wrong, until closed. */
export function startTraffic(shop: Shop, numbers: Numbers, rng: Rng, perSecond: number): Traffic {
  const { accounts, profiles, orders } = shop.addresses;
  const counts = { requests: 0, failed: 0, skipped: 0 };
  const stop = new AbortController();
  const underWay = new Set<Promise<void>>();
  const shippable: string[] = [];

  /** A seeded row that ordinary traffic may touch. The first few are hotter than the rest, as everywhere. */
  const busy = (below: number, from: number): number => {
    const skewed = Math.floor(below * rng.next() ** 2);
    const number = Math.max(from, skewed);
    return number % quietEvery === 0 ? number + 1 : number;
  };
  const region = () => rng.pick(regions);

  const actions: readonly (readonly [number, () => Promise<unknown>])[] = [
    [28, () => sendRequest('GET', `${profiles}/profiles/${busy(seededProfiles - 1, 1)}`)],
    [8, () => sendRequest('GET', `${profiles}/profiles/${1 + rng.int(seededProfiles)}?region=${region()}`)],
    // The ledger is strict: a customer who knows what is good for him reads it where it is written.
    [8, () => sendRequest('GET', `${accounts}/accounts/${busy(seededAccounts - 1, 2)}`)],
    [20, () => sendRequest('PATCH', `${profiles}/profiles/${busy(seededProfiles - 1, 1)}`, { city: rng.pick(cities) })],
    [
      5,
      () => {
        const id = numbers.nextProfile();
        return sendRequest('POST', `${profiles}/profiles`, {
          id,
          name: `Customer ${id}`,
          email: `customer${id}@example.com`,
          city: rng.pick(cities),
        });
      },
    ],
    [
      14,
      () => {
        const from = busy(seededAccounts - 1, 2);
        const to = busy(seededAccounts - 1, 2);
        if (from === to) return Promise.resolve();
        return sendRequest('POST', `${accounts}/transfers`, {
          from,
          to,
          amount: 1 + rng.int(40),
          idempotencyKey: `t-${numbers.nextOrder()}`,
        });
      },
    ],
    [
      10,
      async () => {
        const id = `O-${region()}-${numbers.nextOrder()}`;
        const reply = await sendRequest('POST', `${orders}/orders`, {
          id,
          profileId: busy(seededProfiles - 1, 1),
          accountId: busy(seededAccounts - 1, 2),
          total: 5 + rng.int(30),
          outOfStock: rng.next() < 0.05,
        });
        if (reply.status === 201 && shippable.length < 1000) shippable.push(id);
      },
    ],
    [
      5,
      async () => {
        const id = shippable.shift();
        if (id !== undefined) await sendRequest('PATCH', `${orders}/orders/${id}`, {});
      },
    ],
    [
      2,
      () =>
        sendRequest('POST', `${orders}/giftcards`, {
          id: `G-${region()}-${numbers.nextOrder()}`,
          profileId: busy(seededProfiles - 1, 1),
          accountId: 1,
          total: 25,
        }),
    ],
  ];
  const weights = actions.reduce((sum, [weight]) => sum + weight, 0);

  const one = async (): Promise<void> => {
    let draw = rng.next() * weights;
    const action = actions.find(([weight]) => (draw -= weight) < 0)?.[1];
    counts.requests += 1;
    try {
      await action?.();
    } catch {
      // A shop process that restarts: customers see an error page and come back.
      counts.failed += 1;
    }
  };

  const run = async (): Promise<void> => {
    while (!stop.signal.aborted) {
      if (underWay.size < mostAtOnce) {
        const request: Promise<void> = one().finally(() => underWay.delete(request));
        underWay.add(request);
      } else counts.skipped += 1;
      await delay((-Math.log(1 - rng.next()) * 1000) / perSecond, undefined, { signal: stop.signal }).catch(() => undefined);
    }
    await Promise.all(underWay);
  };
  const running = run();
  return {
    counts,
    async close() {
      stop.abort();
      await running;
    },
  };
}
