// Unpacks the Chromium of the package @sparticuz/chromium.

import { readFileSync, writeFileSync } from 'node:fs';
import { brotliDecompressSync } from 'node:zlib';

const packed = `${process.env.NODE_MODULES}/node_modules/@sparticuz/chromium/bin/chromium.br`;
writeFileSync(process.argv[2], brotliDecompressSync(readFileSync(packed)), { mode: 0o755 });
