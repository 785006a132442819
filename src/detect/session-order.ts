import type { Version } from '../domain/operation.ts';
import { type DetectionContext, type Finding, type Report, spanOf } from './detector.ts';
import type { KeyedStep } from './keyed-step.ts';
import { sessionOf } from './session.ts';
import { objectWords } from './version-order.ts';

/** Options of detectors that compare what a session read with what it did before. */
export const sessionOptions = {
  skewMs: { is: 'number', unit: 'ms', default: 100, min: 0, max: 60_000, says: 'How far the clocks of two services may differ.' },
  retainMs: {
    is: 'number',
    unit: 'ms',
    default: 600_000,
    min: 1000,
    max: 86_400_000,
    says: 'How long a session is remembered after it last touched the object.',
  },
} as const;

/** What the session did before. */
export interface Before {
  readonly version: Version | undefined;
  readonly replica: string;
  readonly service: string;
  readonly object: string;
}

/**
 * Reports that the session of `step` read an older version than its operation in `earlierRow` had: that operation and this read are the whole
 * witness, and session and object the place.
 */
export function reportOlderRead(
  step: KeyedStep,
  earlierRow: number,
  context: DetectionContext,
  report: Report,
  say: (before: Before) => Pick<Finding, 'facts' | 'tell' | 'restsOn'>,
): void {
  const { operation, facts, sessions } = step;
  const { earlier } = sessions;
  const place = context.placeOf(facts.objectType, facts.domain);
  const said = say({
    version: earlier.versionOf(earlierRow),
    replica: earlier.replicaOf(earlierRow),
    service: earlier.serviceOf(earlierRow),
    object: objectWords(operation),
  });
  report({
    place: `${facts.objectType}\0${facts.objectKey}\0${sessionOf(operation)}`,
    grade: 'proven',
    atUs: operation.endUs,
    complete: true,
    spans: [earlier.spanOf(earlierRow), spanOf(operation)],
    domain: place.domainName,
    collection: place.collection ?? facts.objectType,
    objectKey: facts.objectKey,
    service: operation.service,
    ...said,
  });
}
