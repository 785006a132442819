import { sha256Hex } from '../../base/hash.ts';
import { moveCommands } from '../commands.ts';
import { exampleSubject } from '../example-subject.ts';
import { isYoung, sayPercent, sayRate, sumOf, sumOfLists } from '../range-load.ts';
import { curveOf, gainInterval } from '../replay.ts';
import type { BucketHistory, Subject, Suggester } from '../suggester.ts';

/** The new home must have twice the demand of the old: at equal demand the data would follow every swing. */
const leastRatio = 2;
/** Moving a collection's leadership costs what a quarter of an hour of its traffic crossing regions does. */
const moveMs = 900_000;

/**
 * Put the leader where the demand is. Counted is every operation that was served in another region than it came from
 * (`cloud.region` of the service that sent it); only regions that the domain's residency allows, and in which a replica stands
 * already, are a home. Where services do not say where they are, nothing is known to cross and nothing is suggested.
 */
export const move: Suggester = {
  id: 'move',
  title: 'Move toward demand',
  sentence: 'Puts the leader of a collection into the region that most of its operations come from, within its residency.',
  suggest: (subject) => {
    if (isYoung(subject)) return [];
    const home = subject.collection.replicas.find(({ role }) => role === 'leader')?.region;
    if (home === undefined) return [];
    const steps = subject.latencyP95Ms.length;
    const regions = [...new Set(subject.history.map(({ region }) => region))].filter((region) => region !== '').toSorted();
    const listOf = (region: string, pick: (row: BucketHistory) => readonly number[]): readonly number[] =>
      sumOfLists(subject.history.filter((row) => row.bucket >= 0 && row.region === region).map(pick), steps);
    const crossingFrom = new Map(regions.map((region) => [region, listOf(region, ({ crossings }) => crossings)]));
    const allowed = subject.domain.residency;
    const candidates = regions.filter(
      (region) =>
        region !== home &&
        (allowed.length === 0 || allowed.includes(region)) &&
        subject.collection.replicas.some((replica) => replica.region === region && replica.role !== 'cache'),
    );
    const [best] = candidates.toSorted((a, b) => sumOf(crossingFrom.get(b) ?? []) - sumOf(crossingFrom.get(a) ?? []));
    const there = best === undefined ? undefined : crossingFrom.get(best);
    // What is served at home now would cross afterwards.
    const stays = crossingFrom.get(home) ?? [];
    const here = listOf(home, ({ operations }) => operations).map((value, i) => value - (stays[i] ?? 0));
    if (best === undefined || there === undefined || sumOf(there) === 0 || sumOf(there) < leastRatio * sumOf(here)) return [];
    const all = sumOfLists(
      regions.map((region) => listOf(region, ({ operations }) => operations)),
      steps,
    );
    const crossing = sumOfLists([...crossingFrom.values()], steps);
    const afterwards = crossing.map((value, i) => value - (there[i] ?? 0) + (here[i] ?? 0));
    const price = (sumOf(crossing) / Math.max(1, steps)) * (moveMs / subject.stepMs);
    const interval = gainInterval(
      crossing.map((value, i) => value - (afterwards[i] ?? 0)),
      price,
      // Demand follows the sun: what goes together is a day, as far as the record holds enough of them.
      Math.round(86_400_000 / subject.stepMs),
      subject.rng,
    );
    if (!(interval.low > 0)) return [];
    const seconds = subject.stepMs / 1000;
    return [
      {
        id: `move-${sha256Hex(`${subject.collection.name}\n${home}\n${best}`).slice(0, 12)}`,
        kind: 'move',
        domain: subject.domain.name,
        collection: subject.collection.name,
        says: `Move the leader of ${subject.collection.name} from ${home} to ${best}: ${sayPercent(sumOf(there), sumOf(all))} of its operations come from there across regions, ${sayPercent(sumOf(here), sumOf(all))} are at home in ${home}.`,
        because: `Over ${steps} recorded steps ${sayRate(sumOf(crossing) / Math.max(1, steps))} crossed regions; with the leader in ${best} it would have been ${sayRate(sumOf(afterwards) / Math.max(1, steps))}. The residency of ${subject.domain.name} allows ${best}, and a replica stands there already.`,
        replay: {
          unit: 'operations across regions',
          costWithout: sumOf(crossing) * seconds,
          costWith: (sumOf(afterwards) + price) * seconds,
          gainLow: interval.low * seconds,
          gainHigh: interval.high * seconds,
          moves: 1,
          curveWithout: curveOf(crossing),
          curveWith: curveOf(afterwards),
        },
        action: {
          kind: 'move',
          parameters: { collection: subject.collection.name, fromRegion: home, toRegion: best },
          intoRegions: [best],
          commands: moveCommands(subject.collection, best),
        },
        rollback: `Move the leader back to ${home} the same way; a replica stays there.`,
        state: 'open',
        createdAtMs: subject.nowMs,
      },
    ];
  },
  get example() {
    return abroad(['eu', 'us']);
  },
  get twin() {
    return abroad(['eu']);
  },
};

/** A shop led from Europe, three quarters of whose traffic has come from America since. */
function abroad(residency: readonly string[]): Subject {
  const subject = exampleSubject();
  const replica = (id: string, role: 'leader' | 'follower') => ({
    id,
    engine: 'postgres' as const,
    url: `postgres://${id}/shop`,
    region: id,
    role,
    table: 'orders',
    columnNames: {},
  });
  return {
    ...subject,
    domain: { ...subject.domain, residency },
    collection: { ...subject.collection, replicas: [replica('eu', 'leader'), replica('us', 'follower')] },
    history: subject.history.flatMap((row) => [
      { ...row, operations: row.operations.map((value) => 0.25 * value) },
      {
        ...row,
        region: 'us',
        operations: row.operations.map((value) => 0.75 * value),
        crossings: row.operations.map((value) => 0.75 * value),
      },
    ]),
  };
}
