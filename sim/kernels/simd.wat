;; Packet kernels over one memory: addresses are byte offsets in it, and may be odd. Sums are ones' complement over
;; little-endian 16-bit words (RFC 1071 section 2(B)), folded; 0 only where every byte is.
;;
;; A vector of eight words is summed by a multiply-and-add of signed words: each is taken less 0x8000, and what that makes
;; is put back at the end. A lane stays within 31 bits for 64 KiB, which is the most a call is given.
(module
  (import "kernels" "memory" (memory 1))

  ;; The sum of what the lanes and the scalar have, of `vectors` bytes by vectors.
  (func $fold (param $lanes v128) (param $scalar i64) (param $vectors i32) (result i32)
    (local $sum i64) (local $word i32)
    (local.set $lanes
      (i32x4.add (local.get $lanes)
        (i8x16.shuffle 8 9 10 11 12 13 14 15 0 1 2 3 4 5 6 7 (local.get $lanes) (local.get $lanes))))
    (local.set $sum
      (i64.add (local.get $scalar)
        (i64.extend_i32_u
          (i32.add
            (i32.shl (local.get $vectors) (i32.const 14)) ;; 0x8000 for two bytes
            (i32.add (i32x4.extract_lane 0 (local.get $lanes)) (i32x4.extract_lane 1 (local.get $lanes)))))))
    ;; Halves are added with the carry brought around: the upper half of a value plus itself turned by half its width.
    (local.set $word
      (i32.wrap_i64
        (i64.shr_u (i64.add (local.get $sum) (i64.rotl (local.get $sum) (i64.const 32))) (i64.const 32))))
    (i32.shr_u (i32.add (local.get $word) (i32.rotl (local.get $word) (i32.const 16))) (i32.const 16)))

  ;; sum(at, length): length at most 64 KiB.
  (func (export "sum") (param $at i32) (param $length i32) (result i32)
    (local $end i32) (local $scalar i64) (local $a v128) (local $b v128) (local $bias v128) (local $ones v128)
    (local.set $bias (v128.const i32x4 0x80008000 0x80008000 0x80008000 0x80008000))
    (local.set $ones (v128.const i32x4 0x00010001 0x00010001 0x00010001 0x00010001))
    (local.set $end (i32.add (local.get $at) (i32.and (local.get $length) (i32.const -32))))
    (block $done
      (loop $pairs
        (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
        (local.set $a (i32x4.add (local.get $a)
          (i32x4.dot_i16x8_s (local.get $ones) (v128.xor (local.get $bias) (v128.load (local.get $at))))))
        (local.set $b (i32x4.add (local.get $b)
          (i32x4.dot_i16x8_s (local.get $ones) (v128.xor (local.get $bias) (v128.load offset=16 (local.get $at))))))
        (local.set $at (i32.add (local.get $at) (i32.const 32)))
        (br $pairs)))
    (if (i32.and (local.get $length) (i32.const 16))
      (then
        (local.set $a (i32x4.add (local.get $a)
          (i32x4.dot_i16x8_s (local.get $ones) (v128.xor (local.get $bias) (v128.load (local.get $at))))))
        (local.set $at (i32.add (local.get $at) (i32.const 16)))))
    (if (i32.and (local.get $length) (i32.const 8))
      (then
        (local.set $scalar (i64.add (i64.load32_u (local.get $at)) (i64.load32_u offset=4 (local.get $at))))
        (local.set $at (i32.add (local.get $at) (i32.const 8)))))
    (if (i32.and (local.get $length) (i32.const 4))
      (then
        (local.set $scalar (i64.add (local.get $scalar) (i64.load32_u (local.get $at))))
        (local.set $at (i32.add (local.get $at) (i32.const 4)))))
    (if (i32.and (local.get $length) (i32.const 2))
      (then
        (local.set $scalar (i64.add (local.get $scalar) (i64.load16_u (local.get $at))))
        (local.set $at (i32.add (local.get $at) (i32.const 2)))))
    (if (i32.and (local.get $length) (i32.const 1))
      (then (local.set $scalar (i64.add (local.get $scalar) (i64.load8_u (local.get $at))))))
    (call $fold (i32x4.add (local.get $a) (local.get $b)) (local.get $scalar)
      (i32.and (local.get $length) (i32.const -16))))

  ;; copy(from, to, length): ranges that do not overlap; returns their sum. Length at most 64 KiB.
  (func (export "copyAndSum") (param $at i32) (param $to i32) (param $length i32) (result i32)
    (local $end i32) (local $scalar i64) (local $word i64) (local $a v128) (local $b v128) (local $v v128)
    (local $bias v128) (local $ones v128)
    (local.set $bias (v128.const i32x4 0x80008000 0x80008000 0x80008000 0x80008000))
    (local.set $ones (v128.const i32x4 0x00010001 0x00010001 0x00010001 0x00010001))
    (local.set $end (i32.add (local.get $at) (i32.and (local.get $length) (i32.const -32))))
    (block $done
      (loop $pairs
        (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
        (v128.store (local.get $to) (local.tee $v (v128.load (local.get $at))))
        (local.set $a (i32x4.add (local.get $a)
          (i32x4.dot_i16x8_s (local.get $ones) (v128.xor (local.get $bias) (local.get $v)))))
        (v128.store offset=16 (local.get $to) (local.tee $v (v128.load offset=16 (local.get $at))))
        (local.set $b (i32x4.add (local.get $b)
          (i32x4.dot_i16x8_s (local.get $ones) (v128.xor (local.get $bias) (local.get $v)))))
        (local.set $at (i32.add (local.get $at) (i32.const 32)))
        (local.set $to (i32.add (local.get $to) (i32.const 32)))
        (br $pairs)))
    (if (i32.and (local.get $length) (i32.const 16))
      (then
        (v128.store (local.get $to) (local.tee $v (v128.load (local.get $at))))
        (local.set $a (i32x4.add (local.get $a)
          (i32x4.dot_i16x8_s (local.get $ones) (v128.xor (local.get $bias) (local.get $v)))))
        (local.set $at (i32.add (local.get $at) (i32.const 16)))
        (local.set $to (i32.add (local.get $to) (i32.const 16)))))
    (if (i32.and (local.get $length) (i32.const 8))
      (then
        (i64.store (local.get $to) (local.tee $word (i64.load (local.get $at))))
        (local.set $scalar
          (i64.add (i64.and (local.get $word) (i64.const 0xffffffff)) (i64.shr_u (local.get $word) (i64.const 32))))
        (local.set $at (i32.add (local.get $at) (i32.const 8)))
        (local.set $to (i32.add (local.get $to) (i32.const 8)))))
    (if (i32.and (local.get $length) (i32.const 4))
      (then
        (i64.store32 (local.get $to) (local.tee $word (i64.load32_u (local.get $at))))
        (local.set $scalar (i64.add (local.get $scalar) (local.get $word)))
        (local.set $at (i32.add (local.get $at) (i32.const 4)))
        (local.set $to (i32.add (local.get $to) (i32.const 4)))))
    (if (i32.and (local.get $length) (i32.const 2))
      (then
        (i64.store16 (local.get $to) (local.tee $word (i64.load16_u (local.get $at))))
        (local.set $scalar (i64.add (local.get $scalar) (local.get $word)))
        (local.set $at (i32.add (local.get $at) (i32.const 2)))
        (local.set $to (i32.add (local.get $to) (i32.const 2)))))
    (if (i32.and (local.get $length) (i32.const 1))
      (then
        (i64.store8 (local.get $to) (local.tee $word (i64.load8_u (local.get $at))))
        (local.set $scalar (i64.add (local.get $scalar) (local.get $word)))))
    (call $fold (i32x4.add (local.get $a) (local.get $b)) (local.get $scalar)
      (i32.and (local.get $length) (i32.const -16))))

  ;; copy(from, to, length): ranges that do not overlap.
  (func (export "copy") (param $at i32) (param $to i32) (param $length i32)
    (local $end i32)
    (local.set $end (i32.add (local.get $at) (i32.and (local.get $length) (i32.const -16))))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
        (v128.store (local.get $to) (v128.load (local.get $at)))
        (local.set $at (i32.add (local.get $at) (i32.const 16)))
        (local.set $to (i32.add (local.get $to) (i32.const 16)))
        (br $next)))
    (if (i32.and (local.get $length) (i32.const 8))
      (then
        (i64.store (local.get $to) (i64.load (local.get $at)))
        (local.set $at (i32.add (local.get $at) (i32.const 8)))
        (local.set $to (i32.add (local.get $to) (i32.const 8)))))
    (if (i32.and (local.get $length) (i32.const 4))
      (then
        (i32.store (local.get $to) (i32.load (local.get $at)))
        (local.set $at (i32.add (local.get $at) (i32.const 4)))
        (local.set $to (i32.add (local.get $to) (i32.const 4)))))
    (if (i32.and (local.get $length) (i32.const 2))
      (then
        (i32.store16 (local.get $to) (i32.load16_u (local.get $at)))
        (local.set $at (i32.add (local.get $at) (i32.const 2)))
        (local.set $to (i32.add (local.get $to) (i32.const 2)))))
    (if (i32.and (local.get $length) (i32.const 1))
      (then (i32.store8 (local.get $to) (i32.load8_u (local.get $at)))))))
