import type { Rng } from '../base/rng.ts';
import type { Shop } from './estate.ts';
import type { Fault } from './fault-log.ts';
import { type Chaos, regions } from './regions.ts';
import { sendRequest, type ShopReply } from './shop-http.ts';
import { homeOf } from './tables.ts';
import type { Numbers } from './traffic.ts';

/** One way of doing something wrong: a request that any customer could send, with an order for the shop to fail in one place. */
export type Injection = () => Promise<Omit<Fault, 'id' | 'run' | 'at'>>;

/** Two requests of one kind meet while each thinks for so long. */
const thinkMs = 600;
/** How long an early message runs ahead of its commit. */
const earlyMs = 400;
/** Longer than the clients' patience. */
const slowMs = 900;
/** Longer than an outbox row may wait; a busy machine's relay is late by less. */
const stuckMs = 13_000;
/** Messages after one that is lost, by which one sees that it is. */
const peers = 4;

/** Faults of the code rather than of the data: what they leave behind is the same in all regions, and only traces show them. */
export function codeFaults(options: {
  readonly addresses: Shop['addresses'];
  readonly numbers: Numbers;
  readonly rng: Rng;
  readonly run: string;
  readonly quietProfile: () => number;
}): Readonly<Record<string, Injection>> {
  const { numbers, rng, quietProfile } = options;
  const { profiles, orders } = options.addresses;

  const post = async (url: string, body: unknown, chaos: Chaos, status = 300): Promise<ShopReply> => {
    const reply = await sendRequest('POST', url, body, { 'x-chaos': JSON.stringify(chaos) });
    if (status === 300 ? reply.status >= 300 : reply.status !== status) throw new Error(`${url} answered ${reply.status}`);
    return reply;
  };
  const giftCard = (chaos: Chaos, profileId = 1): Promise<ShopReply> =>
    post(`${orders}/giftcards`, { id: `G-${rng.pick(regions)}-${numbers.nextOrder()}`, profileId, accountId: 1, total: 25 }, chaos);
  const consumersOf = (reply: ShopReply): readonly string[] =>
    Array.isArray(reply.body['consumers']) ? reply.body['consumers'].map(String) : [];
  const fault = (
    kind: Fault['kind'],
    collection: string,
    replies: readonly ShopReply[],
    what: string,
    keys: readonly string[] = [],
  ): Omit<Fault, 'id' | 'run' | 'at'> => ({
    kind,
    collection,
    keys,
    regions: [],
    traces: replies.flatMap((reply) => [...(reply.traceId === undefined ? [] : [reply.traceId]), ...consumersOf(reply)]),
    what,
    rows: {},
  });

  return {
    async 'cross-store-write'() {
      const id = quietProfile();
      const reply = await post(`${profiles}/profiles/${id}/notes`, { body: 'called, was friendly' }, {});
      return fault('cross-store-write', 'notes', [reply], `a note on profile ${id} was written into two databases by hand`);
    },
    async 'partial-write'() {
      const id = `V-${rng.pick(regions)}-${numbers.nextOrder()}`;
      const reply = await post(`${orders}/vouchers`, { id, profileId: 1, accountId: 4, total: 10 }, {}, 502);
      return fault('partial-write', 'orders', [reply], `voucher ${id} was recorded, and the accounts refused to be charged for it`);
    },
    async 'retry-without-idempotency'() {
      const id = quietProfile();
      const reply = await post(`${orders}/bonuses/${id}`, {}, { slowAnswerMs: slowMs });
      return fault('retry-without-idempotency', 'profiles', [reply], `a bonus for profile ${id} was asked for twice and given twice`);
    },
    async 'lost-update-risk'() {
      const replies = await Promise.all([1, 2].map(() => post(`${profiles}/visits/home`, {}, { blindMs: thinkMs })));
      const [one, other] = replies;
      if (one?.body['count'] !== other?.body['count']) throw new Error('the two visits did not meet');
      return fault('lost-update-risk', 'visits', replies, 'two visits were counted as one');
    },
    async 'replica-read-after-write'() {
      const id = quietProfile();
      const headers = { 'x-session': `reader-${options.run}-${id}` };
      const written = await sendRequest('PATCH', `${profiles}/profiles/${id}`, { city: rng.pick(['Bergen', 'Split', 'Cadiz']) }, headers);
      const region = homeOf(id);
      const read = await sendRequest('GET', `${profiles}/profiles/${id}?reader=yes&region=${region}`, undefined, headers);
      if (written.status >= 300 || read.status >= 300) throw new Error(`profile ${id} was answered ${written.status} and ${read.status}`);
      return fault(
        'replica-read-after-write',
        'profiles',
        [written, read],
        `a customer changed profile ${id} and at once read it from the reader endpoint of ${region}`,
      );
    },
    async 'notification-before-object'() {
      const reply = await giftCard({ announceEarlyMs: earlyMs });
      return fault('notification-before-object', 'orders', [reply], 'a gift card was announced before it was committed');
    },
    async 'out-of-order-consume'() {
      const profile = quietProfile();
      const replies = await Promise.all([giftCard({ holdMessage: true }, profile), giftCard({ overtakeHeld: true }, profile)]);
      return fault('out-of-order-consume', 'profiles', replies, `two messages about profile ${profile} arrived in the wrong order`);
    },
    async 'orphan-message'() {
      const reply = await giftCard({ forgetMessage: true });
      for (let peer = 0; peer < peers; peer += 1) await giftCard({});
      return fault('orphan-message', 'orders', [reply], 'the message of a gift card was taken by the broker and never delivered');
    },
    async isolation() {
      const one = quietProfile();
      let other = quietProfile();
      while (homeOf(other) !== homeOf(one) || other === one) other = quietProfile();
      const move = (id: number, from: number): Promise<ShopReply> =>
        post(`${profiles}/profiles/${id}/apart`, { other: from, city: 'Geneva' }, { blindMs: thinkMs });
      const replies = await Promise.all([move(one, other), move(other, one)]);
      return fault('isolation', 'profiles', replies, `profiles ${one} and ${other} each moved where the other was not: write skew`, [
        String(one),
        String(other),
      ]);
    },
    async 'outbox-lag'() {
      const id = `F-${rng.pick(regions)}-${numbers.nextOrder()}`;
      const reply = await post(`${orders}/orders`, { id, profileId: 1, accountId: 2, total: 1 + rng.int(5) }, { stuckMs });
      return fault('outbox-lag', 'orders', [reply], `the message of order ${id} lay in the outbox for ${stuckMs / 1000} s`);
    },
  };
}
