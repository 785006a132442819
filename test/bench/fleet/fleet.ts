import { faultForms } from './fault-forms.ts';
import { isolationFaults } from './isolation-faults.ts';
import { messageFaults } from './message-faults.ts';
import { objectFaults } from './object-faults.ts';
import { ordinary } from './ordinary.ts';
import { rightMessages } from './right-messages.ts';
import { rightWrites } from './right-writes.ts';
import { structuralFaults } from './structural-faults.ts';
import { createWorld, type World } from './world.ts';

/** Ten minutes, and no happening in the last three: deadlines of up to two minutes can pass within the data. */
const lengthUs = 600_000_000;
const quietUs = 180_000_000;
/** 2026-01-05T08:00:00Z. */
const startUs = 1_767_600_000_000_000;

/** Ten minutes of a fleet with faults: about 13,000 traces. The same seed gives the same spans and the same truth. */
export function simulateFleet(seed: number): World {
  const world = createWorld(seed, startUs, lengthUs);
  const happenings = [
    ...ordinary,
    ...rightMessages,
    ...rightWrites,
    ...structuralFaults,
    ...faultForms,
    ...messageFaults,
    ...objectFaults,
    ...isolationFaults,
  ].flatMap((scenario) =>
    Array.from({ length: scenario.times }, (_, nth) => {
      // In order, so that partitions and versions advance with time; jittered, so that nothing is aligned.
      const share = (nth + world.rng.next() * 0.9) / scenario.times;
      return { scenario, nth, atUs: startUs + Math.floor(share * (lengthUs - quietUs)) };
    }),
  );
  for (const { scenario, nth, atUs } of happenings.toSorted((a, b) => a.atUs - b.atUs)) scenario.play(world, atUs, nth);
  // A last trace, so that event time reaches the end of the run.
  const end = world.trace();
  end.serve(world.service('web'), 'GET /health', { startUs: startUs + lengthUs });
  return world;
}
