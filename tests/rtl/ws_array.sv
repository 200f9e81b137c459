// Weight-stationary array with N:M selection. A tile's slots of weights enter at the top of the columns and are kept by
// the row they are counted for; then activations stream through the rows, one control word per op, and partial sums
// move down through adders of latency L. CHAIN = 0 (split): every op sends a partial sum down. CHAIN = 1: the PARTS ops
// of an output add up in the PE, INTERLEAVE outputs at a time, and the row below starts when the first sum is ready.
// Tiles run one after another. ROWS and COLS are 2 or more (Icarus Verilog 11 does not take array ports of one element).

module ws_pe #(
    parameter int V = 1,
    parameter int WORD = 1,
    parameter int L = 1,
    parameter int PARTS = 1,
    parameter int PLACES = 1,
    parameter int TOP = 0  // the first row starts from zero
) (
    input  wire clk,
    input  wire rst,
    // preload: a slot passes `hops` rows before it is kept
    input  wire load,
    input  wire [15:0] hops,
    input  wire [7:0] load_part,
    input  wire [V*16-1:0] w,
    output logic q_load,
    output logic [15:0] q_hops,
    output logic [7:0] q_load_part,
    output logic [V*16-1:0] q_w,
    // {valid, first, last, part, place}, and the activations it works on
    input  wire [18:0] op,
    input  wire [WORD*8-1:0] x,
    output logic [18:0] q_op,
    output logic [WORD*8-1:0] q_x,
    input  wire in_valid,
    input  wire [7:0] in_place,
    input  wire signed [31:0] in,
    output wire out_valid,
    output wire [7:0] out_place,
    output wire signed [31:0] out
);
  logic [V*16-1:0] kept[0:PARTS-1];
  logic signed [31:0] from_above[0:PLACES-1];
  logic signed [31:0] own[0:PLACES-1];
  wire valid, first, last;
  wire [7:0] part, place;
  assign {valid, first, last, part, place} = op;
  wire signed [31:0] sum, addend;
  assign addend = !first ? own[place] : TOP ? 32'sd0 : from_above[place];
  wire result_valid, result_last;
  nm_dot #(.V(V), .WORD(WORD)) dot (.x, .w(kept[part]), .sum);
  adder_pipe #(.L(L), .TAG(9)) adder (
      .clk, .rst, .valid, .tag({last, place}), .a(addend), .b(sum),
      .out_valid(result_valid), .out_tag({result_last, out_place}), .out
  );
  assign out_valid = result_valid & result_last;

  always_ff @(posedge clk) begin
    q_load <= load & hops != 0 & ~rst;
    q_hops <= hops - 1;
    q_load_part <= load_part;
    q_w <= w;
    if (load & hops == 0) kept[load_part] <= w;
    q_op <= rst ? '0 : op;
    q_x <= x;
    if (in_valid) from_above[in_place] <= in;
    if (result_valid & ~result_last) own[out_place] <= out;
  end
endmodule

// Counters that walk tiles (column blocks outer, row blocks inner), the preload and the stream.
module ws_control #(
    parameter int ROWS = 1,
    parameter int COLS = 1,
    parameter int L = 1,
    parameter int PARTS = 1,
    parameter int CHAIN = 0,
    parameter int INTERLEAVE = 1
) (
    input  wire clk,
    input  wire rst,
    input  wire [15:0] m,
    input  wire [15:0] n,
    input  wire [15:0] slot_rows,
    input  wire tile_done,
    output logic [15:0] row0,
    output logic [15:0] col0,
    output wire [15:0] r,
    output wire [15:0] c,
    output logic loading,
    output logic [15:0] load_row,
    output logic [7:0] load_part,
    output wire [18:0] op,
    output wire [15:0] vector,
    output wire [15:0] skew,  // cycles from an op of one row to that of the next
    output logic done,
    output logic [31:0] cycles
);
  localparam int BATCH = CHAIN ? INTERLEAVE : 1;
  assign r = slot_rows - row0 < ROWS ? slot_rows - row0 : ROWS;
  assign c = n - col0 < COLS ? n - col0 : COLS;
  wire [15:0] first_batch = m < BATCH ? m : BATCH;
  assign skew = CHAIN ? (PARTS - 1) * (first_batch < L ? L : first_batch) + L : L;

  logic streaming;
  logic [15:0] base, step;
  logic [7:0] part;
  wire [15:0] batch = m - base < BATCH ? m - base : BATCH;
  // an own sum is read L cycles after it was last added to at the earliest
  wire [15:0] period = CHAIN & part != PARTS - 1 & batch < L ? L : batch;
  wire [7:0] place = step;
  wire first = !CHAIN | part == 0, last = !CHAIN | part == PARTS - 1;
  assign op = {streaming & step < batch, first, last, part, place};
  assign vector = base + step;

  always_ff @(posedge clk) begin
    if (rst) begin
      {row0, col0, load_row, load_part, base, step, part, cycles} <= '0;
      loading <= 1;
      streaming <= 0;
      done <= 0;
    end else if (!done) begin
      cycles <= cycles + 1;
      if (loading) begin
        load_part <= load_part == PARTS - 1 ? 0 : load_part + 1;
        if (load_part == PARTS - 1) begin
          load_row <= load_row + 1;
          loading <= load_row != r - 1;
          streaming <= load_row == r - 1;
        end
      end
      if (streaming) begin
        step <= step == period - 1 ? 0 : step + 1;
        if (step == period - 1) begin
          part <= part == PARTS - 1 ? 0 : part + 1;
          if (part == PARTS - 1) begin
            base <= base + batch;
            streaming <= base + batch != m;
          end
        end
      end
      if (tile_done) begin
        {load_row, load_part, base, step, part} <= '0;
        loading <= 1;
        row0 <= row0 + r == slot_rows ? 0 : row0 + r;
        if (row0 + r == slot_rows) begin
          col0 <= col0 + c;
          done <= col0 + c == n;
        end
      end
    end
  end
endmodule

module ws_array #(
    parameter int ROWS = 1,
    parameter int COLS = 1,
    parameter int V = 1,
    parameter int WORD = 1,
    parameter int L = 1,
    parameter int PARTS = 1,
    parameter int CHAIN = 0,
    parameter int INTERLEAVE = 1
) (
    input  wire clk,
    input  wire rst,
    input  wire [15:0] m,
    input  wire [15:0] n,
    input  wire [15:0] slot_rows,
    // what every edge needs in this cycle
    output wire [15:0] row_slot_row[0:ROWS-1],
    output wire [15:0] row_vector[0:ROWS-1],
    input  wire [WORD*8-1:0] row_x[0:ROWS-1],
    output wire [15:0] col_slot_row[0:COLS-1],
    output wire [7:0] col_part[0:COLS-1],
    output wire [15:0] col_vector[0:COLS-1],
    input  wire [V*16-1:0] col_w[0:COLS-1],
    // partial sums that leave the columns
    output wire exit_valid[0:COLS-1],
    output wire signed [31:0] exit_value[0:COLS-1],
    output wire [15:0] exit_m[0:COLS-1],
    output wire [15:0] exit_n[0:COLS-1],
    output wire done,
    output wire [31:0] cycles
);
  localparam int BATCH = CHAIN ? INTERLEAVE : 1;
  localparam int LONGEST = (PARTS - 1) * (BATCH < L ? L : BATCH) + L;  // skew between rows
  localparam int EXITS = CHAIN ? 1 : PARTS;  // partial sums per output
  wire [15:0] row0, col0, r, c, load_row, vector, skew;
  wire [7:0] load_part;
  wire [18:0] op;
  wire loading;
  wire finished[0:COLS-1];
  wire tile_done = finished[c-1];
  ws_control #(
      .ROWS(ROWS), .COLS(COLS), .L(L), .PARTS(PARTS), .CHAIN(CHAIN), .INTERLEAVE(INTERLEAVE)
  ) control (
      .clk, .rst, .m, .n, .slot_rows, .tile_done, .row0, .col0, .r, .c, .loading, .load_row, .load_part, .op, .vector,
      .skew, .done, .cycles
  );

  genvar i, j;
  // row controls, {op, vector}, wait `skew` cycles in a ring per row; one pointer serves all
  wire [34:0] row_control[0:ROWS];
  assign row_control[0] = {op, vector};
  logic [15:0] ring;
  always_ff @(posedge clk) ring <= rst | ring == skew - 1 ? 0 : ring + 1;
  wire [24:0] col_control[0:COLS];  // {load, row, part}
  assign col_control[0] = {loading, load_row, load_part};

  wire [18:0] h_op[0:ROWS*(COLS+1)-1];
  wire [WORD*8-1:0] h_x[0:ROWS*(COLS+1)-1];
  wire v_load[0:(ROWS+1)*COLS-1];
  wire [15:0] v_hops[0:(ROWS+1)*COLS-1];
  wire [7:0] v_part[0:(ROWS+1)*COLS-1];
  wire [V*16-1:0] v_w[0:(ROWS+1)*COLS-1];
  wire v_valid[0:(ROWS+1)*COLS-1];
  wire [7:0] v_place[0:(ROWS+1)*COLS-1];
  wire signed [31:0] v_sum[0:(ROWS+1)*COLS-1];

  for (i = 0; i < ROWS; i++) begin : g_row
    logic [34:0] waiting[0:LONGEST];
    initial for (int t = 0; t <= LONGEST; t++) waiting[t] = '0;
    always_ff @(posedge clk) waiting[ring] <= i + 1 < r & ~rst ? row_control[i] : '0;
    assign row_control[i+1] = waiting[ring];
    assign row_slot_row[i] = row0 + i;
    assign row_vector[i] = row_control[i][15:0];
    assign h_op[i*(COLS+1)] = row_control[i][34:16];
    assign h_x[i*(COLS+1)] = row_x[i];

    for (j = 0; j < COLS; j++) begin : g_pe
      ws_pe #(.V(V), .WORD(WORD), .L(L), .PARTS(PARTS), .PLACES(BATCH), .TOP(i == 0)) pe (
          .clk, .rst,
          .load(v_load[i*COLS+j]), .hops(v_hops[i*COLS+j]), .load_part(v_part[i*COLS+j]), .w(v_w[i*COLS+j]),
          .q_load(v_load[(i+1)*COLS+j]), .q_hops(v_hops[(i+1)*COLS+j]), .q_load_part(v_part[(i+1)*COLS+j]),
          .q_w(v_w[(i+1)*COLS+j]),
          .op(h_op[i*(COLS+1)+j]), .x(h_x[i*(COLS+1)+j]), .q_op(h_op[i*(COLS+1)+j+1]), .q_x(h_x[i*(COLS+1)+j+1]),
          .in_valid(v_valid[i*COLS+j]), .in_place(v_place[i*COLS+j]), .in(v_sum[i*COLS+j]),
          .out_valid(v_valid[(i+1)*COLS+j]), .out_place(v_place[(i+1)*COLS+j]), .out(v_sum[(i+1)*COLS+j])
      );
    end
  end

  for (j = 0; j < COLS; j++) begin : g_col
    logic [24:0] q;
    always_ff @(posedge clk) q <= rst ? '0 : col_control[j];
    assign col_control[j+1] = q;
    assign col_slot_row[j] = row0 + col_control[j][8+:16];
    assign col_part[j] = col_control[j][0+:8];
    assign col_vector[j] = col0 + j;
    assign v_load[j] = col_control[j][24] & j < c;
    assign v_hops[j] = col_control[j][8+:16];
    assign v_part[j] = col_control[j][0+:8];
    assign v_w[j] = col_w[j];
    assign v_valid[j] = 0;
    assign v_sum[j] = 0;
    assign v_place[j] = 0;

    logic [15:0] outputs;
    logic [7:0] exits;
    assign exit_valid[j] = v_valid[r*COLS+j] & j < c;
    assign exit_value[j] = v_sum[r*COLS+j];
    assign exit_m[j] = outputs;
    assign exit_n[j] = col0 + j;
    assign finished[j] = exit_valid[j] & outputs == m - 1 & exits == EXITS - 1;
    always_ff @(posedge clk) begin
      if (rst | finished[j]) {outputs, exits} <= '0;
      else if (exit_valid[j]) begin
        exits <= exits == EXITS - 1 ? 0 : exits + 1;
        if (exits == EXITS - 1) outputs <= outputs + 1;
      end
    end
  end
endmodule

// Test bench: operand memories in, "Y row column value" for every partial sum that leaves and "CYCLES count" out. The
// sums of row blocks, and in split those of the parts, are added by the reader. words < slot_rows (flat) lets
// neighbouring slots work on one word of activations.
module ws_bench;
  parameter int ROWS = 1, COLS = 1, V = 1, WORD = 1, L = 1, PARTS = 1, CHAIN = 0, INTERLEAVE = 1;
  parameter int DEPTH = 1 << 14;
  logic clk = 0, rst = 1;
  int m, n, slots, words;
  wire [15:0] slot_rows = slots / PARTS;
  string x_file, w_file;
  logic [WORD*8-1:0] x[0:DEPTH-1];  // row of X by row of X, word by word
  logic [V*16-1:0] w[0:DEPTH-1];  // column of W by column of W, slot by slot
  wire [15:0] row_slot_row[0:ROWS-1], row_vector[0:ROWS-1], col_slot_row[0:COLS-1], col_vector[0:COLS-1];
  wire [7:0] col_part[0:COLS-1];
  wire [WORD*8-1:0] row_x[0:ROWS-1];
  wire [V*16-1:0] col_w[0:COLS-1];
  wire exit_valid[0:COLS-1];
  wire signed [31:0] exit_value[0:COLS-1];
  wire [15:0] exit_m[0:COLS-1], exit_n[0:COLS-1];
  wire done;
  wire [31:0] cycles;
  ws_array #(
      .ROWS(ROWS), .COLS(COLS), .V(V), .WORD(WORD), .L(L), .PARTS(PARTS), .CHAIN(CHAIN), .INTERLEAVE(INTERLEAVE)
  ) array (
      .clk, .rst, .m(m[15:0]), .n(n[15:0]), .slot_rows, .row_slot_row, .row_vector, .row_x, .col_slot_row, .col_part,
      .col_vector, .col_w, .exit_valid, .exit_value, .exit_m, .exit_n, .done, .cycles
  );
  genvar i, j;
  for (i = 0; i < ROWS; i++) assign row_x[i] = x[row_vector[i]*words+row_slot_row[i]/(slot_rows/words)];
  for (j = 0; j < COLS; j++) begin
    assign col_w[j] = w[col_vector[j]*slots+col_slot_row[j]*PARTS+col_part[j]];
    always @(posedge clk)
      if (!rst & !done & exit_valid[j]) $display("Y %0d %0d %0d", exit_m[j], exit_n[j], exit_value[j]);
  end

  always #1 clk = ~clk;
  initial begin
    if (!$value$plusargs("m=%d", m) || !$value$plusargs("n=%d", n) || !$value$plusargs("slots=%d", slots)
        || !$value$plusargs("words=%d", words) || !$value$plusargs("x=%s", x_file)
        || !$value$plusargs("w=%s", w_file)) $fatal(1, "a plusarg is missing");
    $readmemh(x_file, x, 0, m * words - 1);
    $readmemh(w_file, w, 0, n * slots - 1);
    repeat (L + 2) @(posedge clk);
    rst <= 0;
  end
  always @(posedge clk) begin
    if (!rst & done) begin
      $display("CYCLES %0d", cycles);
      $finish;
    end
    if (cycles > 1000000) $fatal(1, "no end");
  end
endmodule
