import type { Detector } from './detector.ts';
import { dualWrite } from './detectors/dual-write.ts';
import { lostUpdate } from './detectors/lost-update.ts';
import { staleRead } from './detectors/stale-read.ts';

/** Every detector. A new one is one new file and one line here; the conformance suite, the docs and the config read the list. */
export const detectors: readonly Detector[] = [dualWrite, staleRead, lostUpdate];
