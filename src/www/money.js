/* money: US dollars as the daemon writes them, nine decimals, kept as integers of nano-dollars so
 * that sums are exact. (An integer of JavaScript is exact up to nine million dollars of these.) */

const NANO = 1e9;

/* "0.000001250" is 1250; null where there is no amount. */
export function nano(text) {
    const parts = /^(\d{1,7})(?:\.(\d{1,9}))?$/.exec(text ?? "");
    return parts ? Number(parts[1]) * NANO + Number((parts[2] ?? "").padEnd(9, "0")) : null;
}

/* All nine decimals. */
export function exact(amount) {
    const whole = Math.floor(amount / NANO);
    return `$${whole}.${String(amount % NANO).padStart(9, "0")}`;
}

/* What a person reads: cents where there are some, else three figures that count. */
export function short(amount) {
    if (amount === 0) {
        return "$0";
    }
    const dollars = amount / NANO;
    if (dollars >= 1) {
        return `$${dollars.toFixed(2)}`;
    }
    const zeros = Math.floor(-Math.log10(dollars));
    const text = dollars.toFixed(Math.min(9, zeros + 3));
    return `$${text.replace(/0+$/, "")}`;
}
