/** Exact decimal numbers of any size, for totals of money: a double would lose cents in a large sum. */
export interface Decimal {
  readonly unscaled: bigint;
  /** Digits after the point, 0 .. 1000. */
  readonly scale: number;
}

/** Canonical text of `int`, `numeric` and `float` values; null where the text is not a finite decimal number. */
export function parseDecimal(text: string): Decimal | null {
  const match = /^([+-]?)(\d+)(?:\.(\d*))?(?:[eE]([+-]?\d{1,4}))?$/.exec(text);
  if (match === null) return null;
  const [, sign = '', whole = '', fraction = '', exponent = '0'] = match;
  const shift = Number(exponent);
  // Exponents past a double's range do not come from an engine; refusing them bounds the digits.
  if (Math.abs(shift) > 400) return null;
  let unscaled = BigInt(whole + fraction);
  let scale = fraction.length - shift;
  if (scale < 0) {
    unscaled *= 10n ** BigInt(-scale);
    scale = 0;
  }
  return { unscaled: sign === '-' ? -unscaled : unscaled, scale };
}

export function addDecimals(a: Decimal, b: Decimal): Decimal {
  const scale = Math.max(a.scale, b.scale);
  return { unscaled: scaledTo(a, scale) + scaledTo(b, scale), scale };
}

export function subtractDecimals(a: Decimal, b: Decimal): Decimal {
  return addDecimals(a, { unscaled: -b.unscaled, scale: b.scale });
}

/** Negative where a < b, 0 where they are equal in value, positive where a > b. */
export function compareDecimals(a: Decimal, b: Decimal): number {
  const scale = Math.max(a.scale, b.scale);
  const left = scaledTo(a, scale);
  const right = scaledTo(b, scale);
  return left < right ? -1 : left > right ? 1 : 0;
}

/** Plain text without exponent, at `scale` digits after the point. */
export function decimalText(value: Decimal): string {
  const digits = (value.unscaled < 0n ? -value.unscaled : value.unscaled).toString().padStart(value.scale + 1, '0');
  const sign = value.unscaled < 0n ? '-' : '';
  return value.scale === 0 ? sign + digits : `${sign}${digits.slice(0, -value.scale)}.${digits.slice(-value.scale)}`;
}

export const zero: Decimal = { unscaled: 0n, scale: 0 };

function scaledTo(value: Decimal, scale: number): bigint {
  return value.unscaled * 10n ** BigInt(scale - value.scale);
}
