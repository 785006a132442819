import { describe, expect, test } from 'vitest';
import { HeardServices } from '../../src/detect/heard-services.ts';
import { createRng } from '../../src/base/rng.ts';

const second = 1e6;

/** How it was heard in ten seconds, asked some seconds after them. */
const between = (services: HeardServices, service: string, fromS: number, laterS = 10): string =>
  services.between(service, fromS * second, (fromS + 10) * second, (fromS + 10 + laterS) * second);

/** A service that shows in a random share of the seconds, but for those in which it is away, beside one that always does. */
function heard(share: number, seconds: number, away: (second: number) => boolean, seed: number): HeardServices {
  const rng = createRng(seed);
  const services = new HeardServices();
  for (let at = 0; at < seconds; at += 1) {
    services.note('always', at * second);
    if (rng.next() < share && !away(at)) services.note('some', at * second);
  }
  return services;
}

describe('services that are heard', () => {
  test.each([1, 0.9, 0.5, 0.2, 0.02])('in a share of %d of the seconds are not taken for silent', (share) => {
    for (let seed = 1; seed <= 400; seed += 1)
      expect(
        between(
          heard(share, 600, () => false, seed),
          'some',
          400,
        ),
      ).not.toBe('silent');
  });

  test.each([
    [1, 10],
    [0.9, 20],
    [0.5, 60],
    [0.2, 240],
  ])('in a share of %d of the seconds are silent while they are away for %d s, and not after it', (share, awayS) => {
    for (let seed = 1; seed <= 50; seed += 1) {
      const services = heard(share, 1000 + awayS, (at) => at >= 700 && at < 700 + awayS, seed);
      for (const fromS of [695, 700, 690 + awayS]) expect(between(services, 'some', fromS)).toBe('silent');
    }
    const after = heard(1, 1000 + awayS, (at) => at >= 700 && at < 700 + awayS, 1);
    expect(between(after, 'some', 700 + awayS)).toBe('heard');
    expect(between(after, 'some', 680)).toBe('heard');
  });

  test('in bursts are not taken for silent between them', () => {
    const services = heard(1, 1000, (at) => at % 120 >= 60, 1);
    for (const fromS of [700, 740, 780]) expect(between(services, 'some', fromS)).not.toBe('silent');
  });

  test('and whose spans come long after those of others are not heard by them', () => {
    const services = heard(1, 500, (at) => at >= 400 && at < 430, 1);
    for (let at = 400; at < 430; at += 1) services.note('some', at * second);
    expect(between(services, 'some', 410)).toBe('silent');
  });

  test('are open while others were heard since, and heard where nobody was', () => {
    const services = heard(1, 500, (at) => at >= 499, 1);
    services.note('always', 500 * second);
    expect(between(services, 'some', 489)).toBe('open');
    expect(between(services, 'some', 490, 2)).toBe('open');
    expect(between(services, 'some', 490)).toBe('heard');
    expect(between(services, 'nobody', 489)).toBe('heard');
  });

  test('long ago are forgotten', () => {
    const services = heard(1, 100, () => false, 1);
    for (let at = 100; at < 10_000; at += 1) services.note('always', at * second);
    for (let at = 10_000; at < 10_100; at += 1) for (const service of ['always', 'some']) services.note(service, at * second);
    expect(between(services, 'some', 10_050)).toBe('heard');
    expect(between(services, 'some', 50)).toBe('heard');
  });
});
