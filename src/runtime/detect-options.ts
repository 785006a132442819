import type { Config } from '../config.ts';
import type { DetectionOptions } from '../detect/run.ts';
import type { DetectStageOptions } from './detect-stage.ts';
import { featureOptions } from './forecast-loop.ts';

/** What the detectors' thread is told of the configuration. */
export function detectStageOptions(
  config: Config,
  /** What earlier processes had learned and told. */
  earlier: Pick<DetectionOptions, 'known' | 'told'> = {},
): DetectStageOptions {
  const collections = Object.values(config.collections);
  const { latenessMs } = config.ingest;
  const clientReplicas = Object.values(config.targets).flatMap((target) =>
    target.kind === 'client-quorum' ? target.collections.map((collection) => ({ collection, replicas: target.replicas })) : [],
  );
  return {
    detection: {
      ...earlier,
      latenessMs,
      traceIdleMs: config.detect.traceIdleMs,
      share: config.detect.share,
      maxOperations: config.detect.maxOperations,
      detectors: config.detect.detectors,
      declared: config.detect.structure,
    },
    domains: Object.values(config.domains),
    collections,
    ...(config.forecast.enabled ? { features: featureOptions(collections, config.forecast.stepMs) } : {}),
    clientReplicas,
    latenessMs,
    graceMs: latenessMs,
  };
}
