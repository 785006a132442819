const MAX_NUMERIC_DIGITS = 140_000; // PostgreSQL's own bound: 131072 before the point, 16383 after it.

/** Plain decimal of `[+-]digits[.digits][e[+-]digits]`, without superfluous zeros; undefined where it is not one, or too long. */
export function plainDecimal(text: string): string | undefined {
  const match = /^([+-]?)(\d*)(?:\.(\d*))?(?:e([+-]?\d{1,6}))?$/i.exec(text);
  const [, sign, whole = '', part = '', power = '0'] = match ?? [];
  if (match === null || whole.length + part.length === 0) return undefined;
  const exponent = Number(power);
  let digits = whole + part;
  let point = whole.length + exponent;
  if (Math.abs(point) + digits.length > MAX_NUMERIC_DIGITS) return undefined;
  if (point <= 0) {
    digits = '0'.repeat(1 - point) + digits;
    point = 1;
  }
  if (point > digits.length) digits += '0'.repeat(point - digits.length);
  const before = digits.slice(0, point).replace(/^0+(?=\d)/, '');
  const after = digits.slice(point).replace(/0+$/, '');
  const plain = after === '' ? before : `${before}.${after}`;
  return sign === '-' && plain !== '0' ? `-${plain}` : plain;
}
