// What a program may ask of ICU's data, as expressions. Node without its languages has to give the same values as before: the build
// compares the two, and keeps the data where one differs (executable.ts).

const day = "new Date(Date.UTC(2024, 2, 5, 13, 7, 9))";

/** Each is a string, or a value that JSON keeps. */
export const intlExpressions: Readonly<Record<string, string>> = {
  "a number for people": '(1234567.891).toLocaleString("en-US")',
  "a number in the machine's language": "(1234567.891).toLocaleString()",
  "a compact number": 'new Intl.NumberFormat("en", { notation: "compact" }).format(15000)',
  "an amount": 'new Intl.NumberFormat("en", { style: "currency", currency: "EUR" }).format(1.5)',
  "a unit": 'new Intl.NumberFormat("en", { style: "unit", unit: "kilobyte" }).format(1.5)',
  "a plural": 'new Intl.PluralRules("en", { type: "ordinal" }).select(2)',
  "a list": 'new Intl.ListFormat("en").format(["a", "b", "c"])',
  "a duration": 'new Intl.RelativeTimeFormat("en").format(-1, "day")',
  "a date": `${day}.toString()`,
  "a date in the machine's language": `${day}.toLocaleString()`,
  "a time in a zone": `${day}.toLocaleTimeString("en-US", { timeZone: "Asia/Kathmandu" })`,
  "the name of a zone": `${day}.toLocaleString("en-GB", { timeZone: "Europe/Berlin", timeZoneName: "long" })`,
  "all zones": 'Intl.supportedValuesOf("timeZone").join()',
  "a country's name": 'new Intl.DisplayNames("en", { type: "region" }).of("DE")',
  "a language's tag": 'Intl.getCanonicalLocales("EN-us")',
  "names in one form":
    '["NFC", "NFD", "NFKC", "NFKD"].map((form) => "\\ufb01\\u2460e\\u0301\\u212b".normalize(form))',
  "sorted words": '["b", "a", "\\u00e4", "Z", "z"].sort((a, b) => a.localeCompare(b))',
  "sorted names": '["a10", "a9"].sort((a, b) => a.localeCompare(b, "en", { numeric: true }))',
  "upper and lower case":
    '"\\u0131i\\u00df\\u03a3\\u03c2\\u0130".toUpperCase() + "\\u0130\\u03a3".toLowerCase()',
  "letters and digits": '"a\\u00e9\\u53171\\u0663_\\u{1f600}".match(/\\p{L}|\\p{N}/gu)',
  "properties of characters":
    '[/\\p{Emoji_Presentation}/u, /\\p{Script=Greek}/u, /^\\p{RGI_Emoji}$/v].map((one) => ["\\u{1f44d}\\u{1f3fd}", "\\u03b1"].map((text) => one.test(text)))',
  "characters as a reader counts them":
    '[...new Intl.Segmenter("en").segment("\\u{1f44d}\\u{1f3fd}e\\u0301")].length',
  words: '[...new Intl.Segmenter("en", { granularity: "word" }).segment("a b")].length',
  "names of hosts":
    '[new URL("http://b\\u00fccher.example/").host, url.domainToUnicode("xn--bcher-kva.example"), url.domainToASCII("stra\\u00dfe.example")]',
  "texts in encodings":
    '["utf-8", "utf-16le", "utf-16be", "latin1", "windows-1252", "iso-8859-2", "koi8-r"].map((one) => new TextDecoder(one).decode(new Uint8Array([0xe4, 0xb8, 0xad])))',
};

/** Prints the values of all of them: for `node --eval`. */
export const intlProgram = `const url = require("node:url"); console.log(JSON.stringify({ ${Object.entries(
  intlExpressions,
)
  .map(([name, expression]) => `${JSON.stringify(name)}: ${expression}`)
  .join(", ")} }));`;
