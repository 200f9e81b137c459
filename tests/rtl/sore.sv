// SORE: lanes that keep the N largest magnitudes of every M values. A lane takes one value per cycle into N sorted
// registers: it passes those that are strictly smaller, which shift down by one; of equals the earlier stays in front.
// Magnitudes are unsigned 16-bit numbers: the low 15 bits of an FP16 number are in the order of its magnitude.

module sore_lane #(
    parameter int N = 1
) (
    input  wire clk,
    input  wire valid,  // an element of the group, not padding
    input  wire first,  // the group's first cycle: the registers count as empty
    input  wire [15:0] value,
    input  wire [7:0] position,
    output logic [15:0] held,
    output logic [15:0] values[0:N],  // registers 0 to N - 1
    output logic [7:0] positions[0:N]
);
  wire [15:0] full = first ? 16'd0 : held;
  genvar s;
  for (s = 0; s < N; s++) begin : g_register
    wire stays = s < full & values[s][14:0] >= value[14:0];
    wire above_stays;
    if (s == 0) assign above_stays = 1;
    else assign above_stays = s - 1 < full & values[s-1][14:0] >= value[14:0];
    always_ff @(posedge clk) begin
      if (valid & !stays) begin
        values[s] <= above_stays ? value : values[s==0?0 : s-1];
        positions[s] <= above_stays ? position : positions[s==0?0 : s-1];
      end
    end
  end
  always_ff @(posedge clk) held <= valid & full < N ? full + 1 : full;
endmodule

// Hands groups to the lanes, LANES at a time, and counts. Lane l takes element `element` of group `first_group` + l.
module sore_control #(
    parameter int M = 1,
    parameter int LANES = 1
) (
    input  wire clk,
    input  wire rst,
    input  wire [15:0] groups,
    output logic [15:0] first_group,
    output logic [7:0] element,
    output logic busy,
    output logic ready,  // the registers hold the groups from `ready_group` on
    output logic [15:0] ready_group,
    output logic done,
    output logic [31:0] cycles
);
  always_ff @(posedge clk) begin
    ready <= ~rst & busy & element == M - 1;
    ready_group <= first_group;
    done <= ~rst & (done | ~busy);
    if (rst) begin
      {first_group, element, cycles} <= '0;
      busy <= groups != 0;
    end else if (busy) begin
      cycles <= cycles + 1;
      element <= element == M - 1 ? 0 : element + 1;
      if (element == M - 1) begin
        first_group <= first_group + LANES;
        busy <= first_group + LANES < groups;
      end
    end
  end
endmodule

// Test bench: groups in, "G group slot value position" for every register in use and "CYCLES count" out.
module sore_bench;
  parameter int N = 1, M = 1, LANES = 1;
  parameter int DEPTH = 1 << 14;
  logic clk = 0, rst = 1;
  int groups;
  string values_file, lengths_file;
  logic [15:0] stream[0:DEPTH-1];
  logic [15:0] lengths[0:DEPTH-1];
  wire [15:0] first_group, ready_group;
  wire [7:0] element;
  wire busy, ready, done;
  wire [31:0] cycles;
  sore_control #(.M(M), .LANES(LANES)) control (
      .clk, .rst, .groups(groups[15:0]), .first_group, .element, .busy, .ready, .ready_group, .done, .cycles
  );
  genvar l;
  for (l = 0; l < LANES; l++) begin : g_lane
    wire [15:0] held;
    wire [15:0] values[0:N];
    wire [7:0] positions[0:N];
    wire [15:0] group = first_group + l;
    sore_lane #(.N(N)) lane (
        .clk, .valid(busy & group < groups & element < lengths[group]), .first(element == 0),
        .value(stream[group*M+element]), .position(element), .held, .values, .positions
    );
    always @(posedge clk)
      if (ready & ready_group + l < groups)
        for (int s = 0; s < held; s++) $display("G %0d %0d %0d %0d", ready_group + l, s, values[s], positions[s]);
  end

  always #1 clk = ~clk;
  initial begin
    if (!$value$plusargs("groups=%d", groups) || !$value$plusargs("values=%s", values_file)
        || !$value$plusargs("lengths=%s", lengths_file)) $fatal(1, "a plusarg is missing");
    $readmemh(values_file, stream, 0, groups * M - 1);
    $readmemh(lengths_file, lengths, 0, groups - 1);
    repeat (2) @(posedge clk);
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
