;; out[r][p] = bias[r] + scale[r] * sum over k of whole[r][k] x[k][p], in 32 bits, in the memory that the page gives: four rows
;; and eight columns at a time, so that each number, once read, serves several, and the sums stay in registers.
;; The arguments are addresses in bytes, and sizes; rows must be a multiple of 4 and positions of 8. `matmul.js` calls it, and
;; lays out a layer: for each four rows their scales, their biases, and their whole numbers in 8 bits, four of one k together.
;; The memory's first 16 * depth bytes hold these numbers times their scales while the four rows are computed.
(module
  (memory (import "page" "memory") 1)
  (func (export "matmul")
    (param $layer i32) (param $x i32) (param $out i32) (param $rows i32) (param $positions i32) (param $depth i32)
    (local $width i32) (local $four i32) (local $p i32) (local $k i32) (local $at i32) (local $w i32) (local $to i32)
    (local $a0 v128) (local $a1 v128) (local $b0 v128) (local $b1 v128) (local $c0 v128) (local $c1 v128) (local $d0 v128) (local $d1 v128) (local $u v128) (local $v v128) (local $s v128)
    (local.set $width (i32.shl (local.get $positions) (i32.const 2)))
    (loop $of_rows
      (local.set $four (local.get $layer))
      (local.set $s (v128.load (local.get $four)))
      (local.set $w (i32.const 0))
      (local.set $k (local.get $depth))
      (loop $expand
        (v128.store (local.get $w) (f32x4.mul (local.get $s) (f32x4.convert_i32x4_s
          (i32x4.extend_low_i16x8_s (i16x8.extend_low_i8x16_s (v128.load32_zero offset=32 (local.get $layer)))))))
        (local.set $w (i32.add (local.get $w) (i32.const 16)))
        (local.set $layer (i32.add (local.get $layer) (i32.const 4)))
        (br_if $expand (local.tee $k (i32.sub (local.get $k) (i32.const 1)))))
      (local.set $layer (i32.add (local.get $layer) (i32.const 32)))
      (local.set $p (i32.const 0))
      (loop $of_columns
        (local.set $at (i32.add (local.get $x) (local.get $p)))
        (local.set $a0 (local.tee $a1 (v128.load32_splat offset=16 (local.get $four))))
        (local.set $b0 (local.tee $b1 (v128.load32_splat offset=20 (local.get $four))))
        (local.set $c0 (local.tee $c1 (v128.load32_splat offset=24 (local.get $four))))
        (local.set $d0 (local.tee $d1 (v128.load32_splat offset=28 (local.get $four))))
        (local.set $w (i32.const 0))
        (local.set $k (local.get $depth))
        (loop $of_depth
          (local.set $u (v128.load (local.get $at)))
          (local.set $v (v128.load offset=16 (local.get $at)))
          (local.set $a0 (f32x4.add (local.get $a0) (f32x4.mul (local.tee $s (v128.load32_splat (local.get $w))) (local.get $u))))
          (local.set $a1 (f32x4.add (local.get $a1) (f32x4.mul (local.get $s) (local.get $v))))
          (local.set $b0 (f32x4.add (local.get $b0) (f32x4.mul (local.tee $s (v128.load32_splat offset=4 (local.get $w))) (local.get $u))))
          (local.set $b1 (f32x4.add (local.get $b1) (f32x4.mul (local.get $s) (local.get $v))))
          (local.set $c0 (f32x4.add (local.get $c0) (f32x4.mul (local.tee $s (v128.load32_splat offset=8 (local.get $w))) (local.get $u))))
          (local.set $c1 (f32x4.add (local.get $c1) (f32x4.mul (local.get $s) (local.get $v))))
          (local.set $d0 (f32x4.add (local.get $d0) (f32x4.mul (local.tee $s (v128.load32_splat offset=12 (local.get $w))) (local.get $u))))
          (local.set $d1 (f32x4.add (local.get $d1) (f32x4.mul (local.get $s) (local.get $v))))
          (local.set $w (i32.add (local.get $w) (i32.const 16)))
          (local.set $at (i32.add (local.get $at) (local.get $width)))
          (br_if $of_depth (local.tee $k (i32.sub (local.get $k) (i32.const 1)))))
        (local.set $to (i32.add (local.get $out) (local.get $p)))
        (v128.store (local.get $to) (local.get $a0))
        (v128.store offset=16 (local.get $to) (local.get $a1))
        (local.set $to (i32.add (local.get $to) (local.get $width)))
        (v128.store (local.get $to) (local.get $b0))
        (v128.store offset=16 (local.get $to) (local.get $b1))
        (local.set $to (i32.add (local.get $to) (local.get $width)))
        (v128.store (local.get $to) (local.get $c0))
        (v128.store offset=16 (local.get $to) (local.get $c1))
        (local.set $to (i32.add (local.get $to) (local.get $width)))
        (v128.store (local.get $to) (local.get $d0))
        (v128.store offset=16 (local.get $to) (local.get $d1))
        (br_if $of_columns
          (i32.lt_u (local.tee $p (i32.add (local.get $p) (i32.const 32))) (local.get $width))))
      (local.set $out (i32.add (local.get $out) (i32.shl (local.get $width) (i32.const 2))))
      (br_if $of_rows (local.tee $rows (i32.sub (local.get $rows) (i32.const 4)))))))
