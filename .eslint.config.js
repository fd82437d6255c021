import tseslint from 'typescript-eslint';

/** Of sim/, what drivers may know of a chip: its registers, descriptors and configuration space, and what packets consist of. */
const FACTS = [
  'registers',
  '[^/]+/registers',
  '[^/]+/descriptors',
  '[^/]+/configuration',
  '[^/]+/nvm',
  '[^/]+/chips',
  'pci/config',
  'pci/configuration',
  'pci/capabilities/index',
];
const PACKETS = ['packet', 'kernels/index', 'wide'];

// Biome lints and formats; ESLint is here for what needs types, and for which room may import which.
const room = (name, forbidden, { but = [], patterns = [] } = {}) => ({
  files: [`${name}/**/*.ts`],
  ignores: but,
  rules: {
    'no-restricted-imports': [
      'error',
      {
        patterns: [
          { group: forbidden, message: `${name}/ may not import this: see docs/architecture.md` },
          ...patterns,
        ],
      },
    ],
  },
});
const noModels = {
  regex: `/sim/(?!(${[...FACTS, ...PACKETS].join('|')})\\.ts$)`,
  message: 'a driver knows facts of a chip, no model: see docs/architecture.md',
};
const noBackends = { group: ['**/backends/**'], message: 'a driver cannot tell one backend from another' };

export default tseslint.config(
  { ignores: ['dist/', 'native/build/', '.coverage/', '**/*.js', '**/*.mjs'] },
  {
    files: ['**/*.ts'],
    languageOptions: {
      parser: tseslint.parser,
      parserOptions: { project: './tsconfig.json', tsconfigRootDir: import.meta.dirname },
    },
    plugins: { '@typescript-eslint': tseslint.plugin },
    rules: {
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-misused-promises': 'error',
      '@typescript-eslint/await-thenable': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': 'error',
    },
  },
  room('sim', ['node:*', '**/drivers/**', '**/native/**', '**/vm/**', '**/scripts/**']),
  room('native', ['**/sim/**', '**/drivers/**', '**/vm/**', '**/scripts/**']),
  room('drivers', ['**/vm/**', '**/scripts/**']),
  room('drivers', ['**/vm/**', '**/scripts/**'], {
    but: ['drivers/backends/**', 'drivers/index.ts'],
    patterns: [noModels, noBackends],
  }),
  room('vm', ['**/scripts/**']),
);
